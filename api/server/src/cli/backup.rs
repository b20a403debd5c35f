//! `roster backup`: a copy of the database as a folder, from one snapshot and while servers serve.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Parser;
use roster_store::restore;
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::Command;

use crate::config::Settings;
use crate::copy::{self, CellHead, CopiedFile, Manifest};
use crate::{output, session};

/// How often the size of what is written is looked at.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The folder of the copy; it must not exist, or be empty.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Tables that are copied at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// The folder of `pg_dump`; setting `backup.pg_bin` without it.
    #[arg(long, value_name = "FOLDER")]
    pg_bin: Option<PathBuf>,
}

/// What all of a copy is of: one instant of the database.
struct Instant {
    snapshot: String,
    postgres: String,
    major: u32,
    taken_at: DateTime<Utc>,
}

pub(super) async fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    prepare(&args.to)?;
    let mut owner = session::connect_owner(settings).await?;
    ensure!(
        !restore::is_under_way(&mut owner).await?,
        "a restore into this database is under way or was interrupted"
    );
    owner
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let instant = look(&mut owner).await?;
    let keys = restore::keys_in_use(&mut owner).await?;
    let mut cells = Vec::new();
    for cell in restore::cells(&mut owner).await? {
        let head = restore::head(&mut owner, &cell).await?;
        cells.push(CellHead {
            cell,
            epoch: head.epoch,
            position: head.position,
            digest: copy::hexadecimal(&head.digest),
        });
    }
    dump(args, settings, &instant, &cells).await?;
    // The snapshot was kept until here.
    owner.execute("COMMIT").await?;
    owner.close().await?;
    let files = hashed(&args.to)?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    for head in &cells {
        output::line(format_args!(
            "cell {}: epoch {}, up to position {}",
            head.cell, head.epoch, head.position
        ))?;
    }
    let numbers: Vec<String> = keys.iter().map(|key| key.key_no.to_string()).collect();
    Manifest::new(instant.postgres, instant.taken_at, cells, &keys, files).write(&args.to)?;
    output::line(format_args!(
        "{}: {bytes} bytes; it is read with key-encryption key {}, which is not in it",
        args.to.display(),
        numbers.join(" and ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn prepare(folder: &Path) -> anyhow::Result<()> {
    let attempt = || -> std::io::Result<bool> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(fs::read_dir(folder)?.next().is_none())
    };
    if !attempt().with_context(|| folder.display().to_string())? {
        bail!("{} is not empty", folder.display());
    }
    Ok(())
}

async fn look(owner: &mut PgConnection) -> anyhow::Result<Instant> {
    let (snapshot, postgres, number, taken_at): (String, String, i32, DateTime<Utc>) =
        sqlx::query_as(
            "SELECT pg_export_snapshot(),
                    current_setting('server_version'),
                    current_setting('server_version_num')::integer,
                    clock_timestamp()",
        )
        .fetch_one(owner)
        .await?;
    Ok(Instant {
        snapshot,
        postgres,
        major: number.unsigned_abs() / 10_000,
        taken_at,
    })
}

async fn dump(
    args: &Args,
    settings: &Settings,
    instant: &Instant,
    cells: &[CellHead],
) -> anyhow::Result<()> {
    let folder = args.pg_bin.as_ref().or(settings.backup.pg_bin.as_ref());
    let program = copy::find(
        "pg_dump",
        folder.map(PathBuf::as_path),
        &settings.data_dir,
        instant.major,
    )?;
    let (url, password) = copy::without_password(&session::owner_url(settings)?)?;
    let target = args.to.join(copy::DATABASE);
    let mut command = Command::new(&program);
    command
        .args(["--format=directory", "--no-owner", "--no-privileges"])
        .arg(format!("--file={}", target.display()))
        .arg(format!("--jobs={}", args.jobs))
        .arg(format!("--snapshot={}", instant.snapshot))
        .arg("--schema=roster_control")
        .args(
            cells
                .iter()
                .map(|head| format!("--schema=roster_{}", head.cell)),
        )
        .args(
            cells
                .iter()
                .map(|head| format!("--exclude-table-data=roster_{}.view_*", head.cell)),
        )
        .arg(format!("--dbname={url}"))
        .envs(password.map(|password| ("PGPASSWORD", password)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    output::note(format_args!(
        "copying with {} into {}",
        program.display(),
        target.display()
    ));
    let child = command
        .spawn()
        .with_context(|| program.display().to_string())?;
    let bar = output::byte_bar(None, "copied");
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    let outcome = loop {
        tokio::select! {
            outcome = &mut ended => break outcome?,
            () = tokio::time::sleep(LOOK) => bar.set_position(size(&target)),
        }
    };
    bar.finish_and_clear();
    if !outcome.status.success() {
        bail!(
            "pg_dump ended with {}: {}",
            outcome.status,
            String::from_utf8_lossy(&outcome.stderr).trim()
        );
    }
    Ok(())
}

fn size(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

fn hashed(folder: &Path) -> anyhow::Result<Vec<CopiedFile>> {
    let database = folder.join(copy::DATABASE);
    let entries = fs::read_dir(&database).with_context(|| database.display().to_string())?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    let bar = output::byte_bar(Some(size(&database)), "hashed");
    let files = names
        .into_iter()
        .map(|name| {
            let path = Path::new(copy::DATABASE).join(name);
            copy::hash(folder, path, |bytes| bar.inc(bytes))
        })
        .collect();
    bar.finish_and_clear();
    files
}
