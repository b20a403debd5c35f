//! Making a cluster, and its settings.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{DATABASE, Layout, SUPERUSER, program};
use crate::StackError;
use crate::account::Account;
use crate::binaries::PostgresBinaries;
use crate::files;
use crate::options::Durability;

/// For data that is kept: two shared cores, and bulk imports that write gigabytes of log.
const DURABLE: &str = "\
max_connections = 200
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = on
";

/// For data that dies with the process: nothing is flushed.
const THROWAWAY: &str = "\
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 400
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 1h
wal_level = minimal
max_wal_senders = 0
";

/// For both. Terse errors keep row values out of the log.
const COMMON: &str = "\
log_error_verbosity = terse
log_timezone = 'UTC'
timezone = 'UTC'
unix_socket_directories = ''
";

/// Our settings, beside the file that initdb writes, which includes them.
const SETTINGS_FILE: &str = "roster.conf";

/// Makes the cluster beside its place and renames it, so a folder that exists is complete.
pub(super) fn create(
    binaries: &PostgresBinaries,
    home: &Path,
    layout: &Layout,
    account: Option<Account>,
    durability: Durability,
) -> Result<(), StackError> {
    let draft = home.join("postgres.new");
    prepare(&draft, layout, account)
        .map_err(StackError::io(format!("make {}", draft.display())))?;

    let mut initdb = program(binaries, "initdb", &draft);
    initdb.args([
        "--locale=C",
        "--encoding=UTF8",
        "--auth=scram-sha-256",
        "--username",
        SUPERUSER,
    ]);
    initdb
        .arg("--pwfile")
        .arg(&layout.password)
        .arg("--pgdata")
        .arg(&draft);
    let mut session = program(binaries, "postgres", &draft);
    session.arg("--single").arg("-D").arg(&draft);
    if durability == Durability::Throwaway {
        initdb.arg("--no-sync");
        session.args(["-c", "fsync=off"]);
    }
    session.arg("postgres");

    run("initdb", initdb, "", account)?;
    // A single-user session needs no client program, no port and no password.
    let statement = format!("CREATE DATABASE {DATABASE};\n");
    let said = run("create database", session, &statement, account)?;
    if said.contains("ERROR") {
        return Err(StackError::Exited {
            what: statement.trim().to_owned(),
            log: said,
        });
    }
    fs::rename(&draft, &layout.data).map_err(StackError::io(layout.data.display().to_string()))
}

fn prepare(draft: &Path, layout: &Layout, account: Option<Account>) -> io::Result<()> {
    if draft.exists() {
        fs::remove_dir_all(draft)?;
    }
    fs::create_dir(draft)?;
    files::write_private(&layout.password, &format!("{}\n", files::random_hex(16)?))?;
    give(draft, account)?;
    give(&layout.password, account)
}

fn give(path: &Path, account: Option<Account>) -> io::Result<()> {
    account.map_or(Ok(()), |account| {
        chown(path, Some(account.uid), Some(account.gid))
    })
}

/// Runs a program to its end with `input` on its standard input; returns what it wrote.
fn run(
    what: &str,
    mut command: Command,
    input: &str,
    account: Option<Account>,
) -> Result<String, StackError> {
    if let Some(account) = account {
        command.gid(account.gid).uid(account.uid);
    }
    let mut attempt = || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = attempt().map_err(StackError::io(what))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(StackError::Exited {
            what: format!("{what} ({})", output.status),
            log: said,
        })
    }
}

/// Writes the settings of this start; `ALTER SYSTEM` still overrides them.
pub(super) fn configure(
    data: &Path,
    account: Option<Account>,
    durability: Durability,
    settings: &[(String, String)],
) -> io::Result<()> {
    let mut text = String::from(COMMON);
    text.push_str(match durability {
        Durability::Durable => DURABLE,
        Durability::Throwaway => THROWAWAY,
    });
    for (name, value) in settings {
        text.extend([name.as_str(), " = '", &value.replace('\'', "''"), "'\n"]);
    }
    let ours = data.join(SETTINGS_FILE);
    fs::write(&ours, text)?;
    give(&ours, account)?;

    let main = data.join("postgresql.conf");
    let include = format!("include '{SETTINGS_FILE}'");
    if fs::read_to_string(&main)?
        .lines()
        .any(|line| line == include)
    {
        return Ok(());
    }
    let mut main = OpenOptions::new().append(true).open(main)?;
    writeln!(main, "{include}")
}
