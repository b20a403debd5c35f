//! One Postgres cluster on loopback: made once, started, stopped.

mod create;

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::StackError;
use crate::account::Account;
use crate::binaries::PostgresBinaries;
use crate::crash;
use crate::files;
use crate::options::Durability;
use crate::supervise::{self, POLL, StopSignal, Supervised};

use self::create::{configure, create};

/// The superuser that initdb makes.
pub const SUPERUSER: &str = "postgres";

/// The database that is made beside the standard ones.
pub const DATABASE: &str = "roster";

/// Crash recovery of a large write-ahead log is the slowest start.
const START_LIMIT: Duration = Duration::from_mins(2);

/// A fast shutdown writes a checkpoint.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// How long killed processes may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A lost race for a port is rare; this many in a row are something else.
const PORT_ATTEMPTS: usize = 5;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) port: u16,
    pub(crate) password: String,
    process: Supervised,
    log: PathBuf,
}

/// Where the parts of a cluster are under the stack's folder.
struct Layout {
    data: PathBuf,
    log: PathBuf,
    password: PathBuf,
}

impl Layout {
    fn under(home: &Path) -> Self {
        Self {
            data: home.join("postgres"),
            log: home.join("postgres.log"),
            password: home.join("postgres.password"),
        }
    }
}

/// The major version that made the cluster under `home`, if there is one.
pub(crate) fn major_of(home: &Path) -> Option<u32> {
    fs::read_to_string(Layout::under(home).data.join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, StackError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(StackError::io("find a free port"))
}

impl Cluster {
    /// Makes the cluster under `home` unless it exists, and starts it.
    pub(crate) fn start(
        binaries: &PostgresBinaries,
        home: &Path,
        account: Option<Account>,
        durability: Durability,
        settings: &[(String, String)],
    ) -> Result<Self, StackError> {
        let layout = Layout::under(home);
        end_leftover(&layout)?;
        if !layout.data.exists() {
            create(binaries, home, &layout, account, durability)?;
        }
        let password = fs::read_to_string(&layout.password)
            .map_err(StackError::io(layout.password.display().to_string()))?
            .trim()
            .to_owned();
        configure(&layout.data, account, durability, settings)
            .map_err(StackError::io(layout.data.display().to_string()))?;
        for _ in 1..PORT_ATTEMPTS {
            match launch(binaries, &layout, account, password.clone(), free_port()?) {
                Err(StackError::Exited { log, .. }) if port_was_taken(&log) => {}
                outcome => return outcome,
            }
        }
        launch(binaries, &layout, account, password, free_port()?)
    }

    /// Starts a cluster that has ended again, on the port that it had.
    pub(crate) fn restart(
        &mut self,
        binaries: &PostgresBinaries,
        home: &Path,
        account: Option<Account>,
    ) -> Result<(), StackError> {
        let layout = Layout::under(home);
        self.kill(home)?;
        *self = launch(binaries, &layout, account, self.password.clone(), self.port)?;
        Ok(())
    }

    /// Kills every process of the server without warning, as a power cut would.
    pub(crate) fn kill(&mut self, home: &Path) -> Result<(), StackError> {
        let layout = Layout::under(home);
        // A server that ended by itself may have left the number of somebody else's process.
        if let Some(pid) = postmaster(&layout)
            && supervise::is_ours(pid, &layout.data)
        {
            crash::kill(pid).map_err(|error| StackError::io("kill Postgres")(error.into()))?;
        }
        let deadline = Instant::now() + KILL_LIMIT;
        let ended = |process: &mut Supervised| process.ended().map_err(StackError::io("Postgres"));
        // The watchdog takes the status of the dead; only then is the lock file free.
        while ended(&mut self.process)?.is_none() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.process
            .kill()
            .map_err(StackError::io("kill Postgres"))?;
        // It says that the dead server is ready, and on the port that the next one gets.
        match fs::remove_file(layout.data.join("postmaster.pid")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StackError::io("postmaster.pid")(error))
            }
            _ => Ok(()),
        }
    }

    /// Pauses every process of the server, or lets them go on.
    pub(crate) fn pause(home: &Path, paused: bool) -> Result<(), StackError> {
        let Some(pid) = postmaster(&Layout::under(home)) else {
            return Ok(());
        };
        let done = if paused {
            crash::pause(pid)
        } else {
            crash::resume(pid)
        };
        done.map_err(|error| StackError::io("pause Postgres")(error.into()))
    }

    /// An error with the end of the log if the server has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), StackError> {
        match self.process.ended().map_err(StackError::io("Postgres"))? {
            None => Ok(()),
            Some(status) => Err(exited("Postgres", status, &self.log)),
        }
    }

    /// A fast shutdown.
    pub(crate) fn stop(&mut self) -> Result<(), StackError> {
        match self
            .process
            .stop()
            .map_err(StackError::io("stop Postgres"))?
        {
            Some(_) => Ok(()),
            None => Err(StackError::TimedOut {
                what: "stopping Postgres".to_owned(),
                seconds: STOP_LIMIT.as_secs(),
                log: files::log_tail(&self.log),
            }),
        }
    }
}

pub(crate) fn exited(what: &str, status: ExitStatus, log: &Path) -> StackError {
    StackError::Exited {
        what: format!("{what} ({status})"),
        log: files::log_tail(log),
    }
}

pub(crate) fn port_was_taken(log: &str) -> bool {
    log.to_ascii_lowercase().contains("address already in use")
}

/// A server program's command: no variable of the caller's, the cluster as working directory (the
/// caller's may be out of reach for `account`).
fn program(binaries: &PostgresBinaries, name: &str, folder: &Path) -> Command {
    let mut command = Command::new(binaries.folder.join(name));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir(folder);
    command
}

fn launch(
    binaries: &PostgresBinaries,
    layout: &Layout,
    account: Option<Account>,
    password: String,
    port: u16,
) -> Result<Cluster, StackError> {
    let log =
        files::fresh_log(&layout.log).map_err(StackError::io(layout.log.display().to_string()))?;
    let mut command = program(binaries, "postgres", &layout.data);
    command.arg("-D").arg(&layout.data);
    command.args([
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        &format!("port={port}"),
    ]);
    let process = Supervised::start(
        &command,
        StopSignal::Interrupt,
        account,
        Some(&log),
        STOP_LIMIT,
    )
    .map_err(StackError::io("start Postgres"))?;
    let mut cluster = Cluster {
        port,
        password,
        process,
        log: layout.log.clone(),
    };
    let deadline = Instant::now() + START_LIMIT;
    while !is_ready(&layout.data, port) {
        cluster.check()?;
        if Instant::now() > deadline {
            return Err(StackError::TimedOut {
                what: "starting Postgres".to_owned(),
                seconds: START_LIMIT.as_secs(),
                log: files::log_tail(&layout.log),
            });
        }
        thread::sleep(POLL);
    }
    Ok(cluster)
}

/// What `pg_ctl` asks too: line 4 of `postmaster.pid` is the port and line 8 the state.
fn is_ready(data: &Path, port: u16) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    lines.nth(3) == Some(&port.to_string())
        && lines.nth(3).is_some_and(|state| state.trim() == "ready")
}

/// The process that the data is locked by, if there is one.
fn postmaster(layout: &Layout) -> Option<i32> {
    let text = fs::read_to_string(layout.data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Waits for, or stops, a server that an earlier run left on the same data.
fn end_leftover(layout: &Layout) -> Result<(), StackError> {
    let Some(pid) = postmaster(layout) else {
        return Ok(());
    };
    if supervise::is_ours(pid, &layout.data)
        && !supervise::end_leftover(pid, &layout.data, Signal::SIGINT)
    {
        return Err(StackError::Leftover {
            what: "Postgres",
            pid,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_race_for_the_port_is_recognised_in_the_log() {
        assert!(port_was_taken(
            "LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use"
        ));
        assert!(port_was_taken(
            "[FTL] Error listening on port: listen tcp 127.0.0.1:4222: bind: address already in use"
        ));
        assert!(!port_was_taken(
            "FATAL:  data directory has wrong ownership"
        ));
    }
}
