//! `.sqlx/`: what the query macros know of the database without one.
//!
//! Fresh data comes from a check of each crate that uses the macros, against a migrated throwaway
//! database (`SQLX_OFFLINE=false`, `SQLX_OFFLINE_DIR`). It is kept under `target/devstack/sqlx/`
//! by a hash of all sources, so an unchanged tree is not asked about twice. A `cfg` that no check
//! had before is passed to rustc: cargo then sees a new unit and the macros run, while all
//! dependencies are shared with the ordinary checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use roster_dev::kek;
use roster_dev::stack::Stack;

use crate::console::Console;
use crate::project::{Project, start};

/// Files by name.
type Data = BTreeMap<String, Vec<u8>>;

/// How a use of the macros looks in the source; this crate only names them.
const MACROS: [&str; 5] = [
    "query!(",
    "query_as!(",
    "query_scalar!(",
    "query_file",
    "_unchecked!(",
];

/// `cargo dev sqlx`: makes `.sqlx/` equal to the fresh data.
pub(crate) fn refresh(project: &Project, console: &mut Console) -> anyhow::Result<ExitCode> {
    let fresh = fresh(project, console, true)?;
    let folder = project.root.join(".sqlx");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    if !fresh.is_empty() {
        fs::create_dir(&folder)?;
    }
    for (name, content) in &fresh {
        fs::write(folder.join(name), content)?;
    }
    println!("{} queries in .sqlx/", fresh.len());
    Ok(ExitCode::SUCCESS)
}

/// Part of `cargo dev check`: fails on a difference between `.sqlx/` and the fresh data.
pub(crate) fn compare(project: &Project, console: &mut Console) -> anyhow::Result<()> {
    let kept = read(&project.root.join(".sqlx"))?;
    let fresh = fresh(project, console, false)?;
    if kept.is_empty() && fresh.is_empty() {
        println!("no crate uses the query macros: nothing to compare");
        return Ok(());
    }
    let names: BTreeSet<_> = kept.keys().chain(fresh.keys()).collect();
    let differences: Vec<_> = names
        .into_iter()
        .filter_map(|name| match (kept.get(name), fresh.get(name)) {
            (Some(kept), Some(fresh)) if kept == fresh => None,
            (Some(_), Some(_)) => Some(format!("{name} has changed")),
            (Some(_), None) => Some(format!("{name} belongs to no query")),
            (None, _) => Some(format!("{name} is missing")),
        })
        .collect();
    if differences.is_empty() {
        println!("{} queries are up to date", fresh.len());
        return Ok(());
    }
    bail!(
        ".sqlx/ is stale, run `cargo dev sqlx`:\n{}",
        differences.join("\n")
    )
}

fn fresh(project: &Project, console: &mut Console, may_bootstrap: bool) -> anyhow::Result<Data> {
    let (users, fingerprint) = scan(project)?;
    if users.is_empty() {
        return Ok(Data::new());
    }
    let place = project.devstack().join("sqlx").join(&fingerprint);
    if !place.exists() {
        let draft = place.with_extension(format!("draft-{}", std::process::id()));
        fs::create_dir_all(&draft)?;
        let stack = start(project.throwaway_stack("run-sqlx"))?;
        let outcome = describe(project, console, &stack, &users, &draft, may_bootstrap);
        stack.stop()?;
        let outcome = outcome.and_then(|()| Ok(fs::rename(&draft, &place)?));
        if outcome.is_err() {
            fs::remove_dir_all(&draft)?;
        }
        outcome?;
    }
    read(&place)
}

/// Members that use the macros, and a hash of every source and migration.
fn scan(project: &Project) -> anyhow::Result<(Vec<String>, String)> {
    let mut hasher = DefaultHasher::new();
    let mut users = Vec::new();
    for (name, folder) in &project.members {
        let mut files = Vec::new();
        collect(&folder.join("src"), "rs", &mut files)?;
        let mut uses = false;
        for file in files {
            let text = fs::read_to_string(file)?;
            text.hash(&mut hasher);
            uses |= MACROS.iter().any(|pattern| text.contains(pattern));
        }
        if uses && name != env!("CARGO_PKG_NAME") {
            users.push(name.clone());
        }
    }
    for file in migrations(project)? {
        fs::read(file)?.hash(&mut hasher);
    }
    fs::read(project.root.join("Cargo.lock"))
        .unwrap_or_default()
        .hash(&mut hasher);
    Ok((users, format!("{:016x}", hasher.finish())))
}

fn migrations(project: &Project) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["control", "cell"] {
        collect(
            &project.root.join("migrations").join(folder),
            "sql",
            &mut files,
        )?;
    }
    Ok(files)
}

/// Files of a kind under a folder, in order of their names.
fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, extension, files)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

fn describe(
    project: &Project,
    console: &mut Console,
    stack: &Stack,
    users: &[String],
    folder: &Path,
    may_bootstrap: bool,
) -> anyhow::Result<()> {
    let mut build = project.cargo();
    build.args(["build", "--package", "roster-server", "--bin", "roster"]);
    if !console.run(build.env("SQLX_OFFLINE", "true"))?.success() {
        ensure!(
            may_bootstrap,
            "roster does not build with the data in .sqlx/: run `cargo dev sqlx`"
        );
        bootstrap(project, console, stack)?;
    }
    let url = migrate(project, stack)?;
    let moment = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    for user in users {
        let mut check = project.cargo();
        check
            .args([
                "rustc",
                "--quiet",
                "--package",
                user,
                "--lib",
                "--profile",
                "check",
                "--",
            ])
            .args([
                "--cfg",
                &format!("sqlx_data=\"{moment}\""),
                "--cap-lints",
                "allow",
            ])
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", folder)
            .env("DATABASE_URL", &url)
            .env("CARGO_INCREMENTAL", "0");
        console.require(user, &mut check)?;
    }
    Ok(())
}

/// Builds `roster` where `.sqlx/` is too old for it: against a database with all migrations in one
/// schema, made by psql, which is near enough to compile.
fn bootstrap(project: &Project, console: &mut Console, stack: &Stack) -> anyhow::Result<()> {
    println!("the kept data is too old to build roster: building it against a plain database");
    let psql = stack
        .postgres_bin()
        .context("psql is needed to refresh .sqlx/")?
        .join("psql");
    let mut create = Command::new(&psql);
    create.args([
        "-Xqc",
        "CREATE DATABASE bootstrap",
        &stack.maintenance_url(),
    ]);
    console.require("create database", &mut create)?;
    let url = stack.admin_url("bootstrap");
    let mut apply = Command::new(psql);
    apply
        .args(["-Xq1", "-v", "ON_ERROR_STOP=1", "-d", &url])
        .stdout(Stdio::null());
    for file in migrations(project)? {
        apply.arg("-f").arg(file);
    }
    console.require("the migrations", &mut apply)?;
    let mut build = project.cargo();
    build.args(["build", "--package", "roster-server", "--bin", "roster"]);
    console.require(
        "the build",
        build.env("SQLX_OFFLINE", "false").env("DATABASE_URL", url),
    )
}

/// Migrates the stack's database; returns the URL of the role that the service connects as.
fn migrate(project: &Project, stack: &Stack) -> anyhow::Result<String> {
    let key = project.devstack().join("sqlx/kek");
    kek::ensure(&key)?;
    let output = Command::new(project.roster("debug"))
        .args(["migrate", "--print-service-url"])
        .current_dir(&project.root)
        .env("DATABASE_URL", stack.database_url())
        .env("NATS_URL", stack.nats_url())
        .env("ROSTER_KEK_FILE", key)
        .stderr(Stdio::inherit())
        .output()
        .context("roster migrate")?;
    ensure!(
        output.status.success(),
        "roster migrate failed ({})",
        output.status
    );
    let said = String::from_utf8(output.stdout)?;
    let url = said
        .lines()
        .last()
        .context("roster migrate printed no URL")?;
    Ok(url.trim().to_owned())
}

fn read(folder: &Path) -> anyhow::Result<Data> {
    let mut files = Vec::new();
    collect(folder, "json", &mut files)?;
    files
        .into_iter()
        .map(|file| {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            Ok((name, fs::read(file)?))
        })
        .collect()
}
