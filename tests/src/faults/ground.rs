//! Postgres and NATS of a campaign, on a small file system where this machine allows a mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use roster_dev::stack::{Stack, StackOptions};
use tokio::task::block_in_place;

/// Size of the small file system.
const DISK_MIB: u64 = 640;
/// How much of it a full disk still has: enough for Postgres to fail in the middle of something.
const LEFT_BYTES: u64 = 1 << 20;
/// Names of folders begin with it; the process id follows.
const NAME: &str = "roster-faults-";

/// Both servers, which end with the value.
#[derive(Debug)]
pub(super) struct Ground {
    // Dropped first: nothing may be open on the disk when it goes.
    stack: Stack,
    disk: Option<Disk>,
    folder: PathBuf,
}

impl Ground {
    /// Starts both, durably.
    pub(super) fn start(with_disk: bool) -> anyhow::Result<Self> {
        sweep();
        let folder = std::env::temp_dir().join(format!("{NAME}{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let disk = with_disk.then(|| Disk::mount(&folder)).transpose();
        let disk = disk.unwrap_or_else(|error| {
            eprintln!("no full disks, for a small one cannot be mounted here: {error:#}");
            None
        });
        let home = disk
            .as_ref()
            .map_or_else(|| folder.clone(), |disk| disk.place.clone());
        let mut options = StackOptions::durable(home.join("stack"));
        options.runtime_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/devstack").into();
        options.environment.database_url = None;
        options.environment.nats_url = None;
        options.keep = false;
        let small = [
            ("max_wal_size", "96MB"),
            ("min_wal_size", "32MB"),
            ("shared_buffers", "64MB"),
            ("max_connections", "120"),
            // What is filled and given back again and again would fill the small disk.
            ("wal_recycle", "off"),
        ];
        options.settings = small
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let stack = Stack::start(options).context("Postgres and NATS of the campaign")?;
        Ok(Self {
            stack,
            disk,
            folder,
        })
    }

    /// The superuser's URL of the database `postgres`.
    pub(super) fn maintenance_url(&self) -> String {
        self.stack.maintenance_url()
    }

    /// The URL of NATS.
    pub(super) fn nats_url(&self) -> &str {
        self.stack.nats_url()
    }

    /// Whether the disk can be filled.
    pub(super) const fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Kills every process of Postgres.
    pub(super) fn kill_postgres(&mut self) -> anyhow::Result<()> {
        Ok(block_in_place(|| self.stack.kill_postgres())?)
    }

    /// Starts Postgres where it was killed, or ended by itself on a full disk.
    pub(super) fn revive_postgres(&mut self) -> anyhow::Result<()> {
        Ok(block_in_place(|| self.stack.restart_postgres())?)
    }

    /// Pauses Postgres, or lets it go on.
    pub(super) fn pause_postgres(&self, paused: bool) -> anyhow::Result<()> {
        Ok(self.stack.pause_postgres(paused)?)
    }

    /// Kills NATS.
    pub(super) fn kill_nats(&mut self) -> anyhow::Result<()> {
        Ok(block_in_place(|| self.stack.kill_nats())?)
    }

    /// Removes what NATS keeps, while it is not running.
    pub(super) fn wipe_nats(&self) -> anyhow::Result<()> {
        let data = self.stack.nats_dir().context("NATS was not started")?;
        match fs::remove_dir_all(data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Starts NATS after a kill.
    pub(super) fn revive_nats(&mut self) -> anyhow::Result<()> {
        Ok(block_in_place(|| self.stack.restart_nats())?)
    }

    /// Pauses NATS, or lets it go on.
    pub(super) fn pause_nats(&self, paused: bool) -> anyhow::Result<()> {
        Ok(self.stack.pause_nats(paused)?)
    }

    /// Fills the disk, or frees it.
    pub(super) fn fill_disk(&self, full: bool) -> anyhow::Result<()> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.fill(full))
    }

    /// Whether Postgres has ended by itself.
    pub(super) fn is_broken(&mut self) -> bool {
        self.stack.check().is_err()
    }

    /// Stops both and removes what they kept.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        let Self {
            stack,
            disk,
            folder,
        } = self;
        block_in_place(|| stack.stop())?;
        drop(disk);
        Ok(fs::remove_dir_all(folder)?)
    }
}

/// A mounted file system, unmounted with the value.
#[derive(Debug)]
struct Disk {
    place: PathBuf,
}

impl Disk {
    /// A file with a file system in it; where that cannot be had, memory.
    fn mount(folder: &Path) -> anyhow::Result<Self> {
        let (place, image) = (folder.join("disk"), folder.join("disk.img"));
        fs::create_dir_all(&place)?;
        fs::File::create(&image)?.set_len(DISK_MIB << 20)?;
        let (place_text, image_text) = (place.to_string_lossy(), image.to_string_lossy());
        let ext4 = run("mkfs.ext4", &["-q", "-m", "0", "-F", &image_text])
            .and_then(|()| run("mount", &["-o", "loop", &image_text, &place_text]));
        if ext4.is_err() {
            let size = format!("size={DISK_MIB}m,mode=0755");
            run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &place_text])?;
        }
        Ok(Self { place })
    }

    fn fill(&self, full: bool) -> anyhow::Result<()> {
        let ballast = self.place.join("ballast");
        if !full {
            return Ok(fs::remove_file(ballast)?);
        }
        let free = output(
            "df",
            &["--output=avail", "-B1", &self.place.to_string_lossy()],
        )?;
        let free: u64 = free
            .lines()
            .nth(1)
            .context("df says nothing")?
            .trim()
            .parse()?;
        let length = free.saturating_sub(LEFT_BYTES).to_string();
        run("fallocate", &["-l", &length, &ballast.to_string_lossy()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The next campaign sweeps what could not be unmounted.
        let _ = run("umount", &[&self.place.to_string_lossy()]);
    }
}

/// Removes what killed campaigns left mounted.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process: Option<u32> = name.strip_prefix(NAME).and_then(|id| id.parse().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = run("umount", &[&entry.path().join("disk").to_string_lossy()]);
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    output(program, arguments).map(|_| ())
}

fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let done = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "{program}: {}", said.trim());
    Ok(String::from_utf8(done.stdout)?)
}
