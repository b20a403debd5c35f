//! `roster restore`: a copy that `roster backup` made, back into a database.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use roster_store::rotation::SESSIONS;
use roster_store::{Vault, restore};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use crate::config::Settings;
use crate::copy::{self, CellHead, Manifest};
use crate::{output, session};

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The folder of the copy.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Drop what the database has of Roster, such as a restore that was interrupted.
    #[arg(long)]
    force: bool,
    /// Tables that are restored at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// The folder of `pg_restore`; setting `backup.pg_bin` without it.
    #[arg(long, value_name = "FOLDER")]
    pg_bin: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let manifest = Manifest::read(&args.from)?;
    let vault = session::vault(settings)?;
    for key in &manifest.keys {
        key.check()?
            .verify(&vault)
            .context("the copy was made under another key-encryption key")?;
    }
    compare(&args.from, &manifest)?;
    let mut owner = session::connect_owner(settings).await?;
    let replaced = replaceable(&mut owner, args.force).await?;
    restore::begin(&mut owner, &replaced).await?;
    fill(args, settings, &mut owner).await?;
    for copied in &manifest.cells {
        let found = restore::head(&mut owner, &copied.cell).await?;
        let found = CellHead {
            cell: copied.cell.clone(),
            epoch: found.epoch,
            position: found.position,
            digest: copy::hexadecimal(&found.digest),
        };
        ensure!(
            found == *copied,
            "the restored log of cell {} ends elsewhere than the copied one",
            copied.cell
        );
    }
    adopt(settings, &manifest, &vault).await?;
    restore::finish(&mut owner).await?;
    owner.close().await?;
    output::line("restored; no server serves it before `roster restore-check`")?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses a copy that is not what it was.
fn compare(folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let all = manifest.files.iter().map(|file| file.bytes).sum();
    let bar = output::byte_bar(Some(all), "verified");
    for file in &manifest.files {
        let found = copy::hash(folder, file.path.clone(), |bytes| bar.inc(bytes))?;
        ensure!(
            found == *file,
            "{} differs from the manifest",
            folder.join(&file.path).display()
        );
    }
    bar.finish_and_clear();
    output::note(format_args!(
        "{} files are as the manifest has them; taken at {} by roster {} on Postgres {}",
        manifest.files.len(),
        manifest
            .taken_at
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        manifest.roster,
        manifest.postgres
    ));
    Ok(())
}

/// The schemas that go. Without `force` there may be none, and never one that is served.
async fn replaceable(owner: &mut PgConnection, force: bool) -> anyhow::Result<Vec<String>> {
    let schemas = restore::schemas(owner).await?;
    if schemas.is_empty() {
        return Ok(schemas);
    }
    if !force {
        bail!(
            "the database is not empty: it has {}; --force drops them",
            schemas.join(", ")
        );
    }
    let served: i64 = sqlx::query_scalar(
        "SELECT count(*)
           FROM pg_stat_activity
          WHERE datname = current_database() AND starts_with(application_name, $1)",
    )
    .bind(SESSIONS)
    .fetch_one(owner)
    .await?;
    ensure!(
        served == 0,
        "servers are connected to this database: stop them"
    );
    Ok(schemas)
}

async fn fill(args: &Args, settings: &Settings, owner: &mut PgConnection) -> anyhow::Result<()> {
    let number: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
        .fetch_one(owner)
        .await?;
    let folder = args.pg_bin.as_ref().or(settings.backup.pg_bin.as_ref());
    let major = number.unsigned_abs() / 10_000;
    let program = copy::find(
        "pg_restore",
        folder.map(PathBuf::as_path),
        &settings.data_dir,
        major,
    )?;
    let (url, password) = copy::without_password(&session::owner_url(settings)?)?;
    output::note(format_args!("restoring with {}", program.display()));
    let bar = output::count_bar(None, "restoring");
    let child = Command::new(&program)
        .args(["--no-owner", "--no-privileges", "--exit-on-error"])
        .arg(format!("--jobs={}", args.jobs))
        .arg(format!("--dbname={url}"))
        .arg(args.from.join(copy::DATABASE))
        .envs(password.map(|password| ("PGPASSWORD", password)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| program.display().to_string())?;
    let outcome = child.wait_with_output().await?;
    bar.finish_and_clear();
    if !outcome.status.success() {
        bail!(
            "pg_restore ended with {}: {}",
            outcome.status,
            String::from_utf8_lossy(&outcome.stderr).trim()
        );
    }
    Ok(())
}

async fn adopt(settings: &Settings, manifest: &Manifest, vault: &Vault) -> anyhow::Result<()> {
    let owner_url = session::owner_url(settings)?;
    for copied in &manifest.cells {
        let epoch = restore::adopt(&owner_url, &copied.cell, vault).await?;
        output::line(format_args!(
            "cell {}: epoch {epoch}, up to position {}",
            copied.cell, copied.position
        ))?;
    }
    Ok(())
}
