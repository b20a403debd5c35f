//! `cargo dev`: the server on a stack whose data is kept.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use roster_dev::kek;
use roster_dev::stack::Stack;
use roster_dev::supervise::{StopSignal, Supervised};

use crate::console::{Console, exit_code};
use crate::project::{Project, start};

const DEFAULT_PORT: u16 = 8080;

/// How many ports after the wanted one are tried.
const PORTS_TRIED: u16 = 100;

/// The server ends its requests and jobs first.
const STOP_LIMIT: Duration = Duration::from_secs(30);

struct Flags {
    port: u16,
    release: bool,
}

pub(crate) fn run(
    project: &Project,
    console: &mut Console,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    let flags = parse(arguments)?;
    let options = project.kept_stack();
    ensure!(
        !options.is_running()?,
        "`cargo dev` runs already; its URLs are in .roster/ready.json"
    );

    let mut build = project.cargo();
    build.args(["build", "--package", "roster-server", "--bin", "roster"]);
    if flags.release {
        build.arg("--release");
    }
    console.require("the build", &mut build)?;

    let mut stack = start(options)?;
    let outcome = serve(project, console, &flags, &mut stack);
    remove_ready_file(project)?;
    stack.stop()?;
    outcome
}

/// Runs the server until it ends, a server under it ends, or somebody asks to stop.
fn serve(
    project: &Project,
    console: &mut Console,
    flags: &Flags,
    stack: &mut Stack,
) -> anyhow::Result<ExitCode> {
    let key = project.home().join("kek");
    kek::ensure(&key)?;
    let anchor_key = project.home().join("anchor-key");
    kek::ensure(&anchor_key)?;
    remove_ready_file(project)?;
    let port = free_port_from(flags.port)?;
    let mut command = Command::new(project.roster(if flags.release { "release" } else { "debug" }));
    command
        .arg("serve")
        .current_dir(&project.root)
        .env("DATABASE_URL", stack.database_url())
        .env("NATS_URL", stack.nats_url())
        .env("ROSTER_KEK_FILE", &key)
        .env("ROSTER_ANCHOR_KEY_FILE", &anchor_key)
        .env("ROSTER_LISTEN", format!("127.0.0.1:{port}"))
        .env("ROSTER_DEMO", "true")
        .env("ROSTER_READY_FILE", project.ready_file());
    let mut server = Supervised::start(&command, StopSignal::Terminate, None, None, STOP_LIMIT)
        .context("start roster")?;
    loop {
        if let Some(status) = server.ended()? {
            println!("roster ended ({status})");
            return Ok(exit_code(status));
        }
        if console.asked_to_stop() {
            return stop(console, &mut server);
        }
        if let Err(error) = stack.check() {
            server.stop()?;
            return Err(error.into());
        }
        Console::pause();
    }
}

/// The first signal asks the server to stop, the second one ends it.
fn stop(console: &mut Console, server: &mut Supervised) -> anyhow::Result<ExitCode> {
    println!("stopping");
    server.ask_to_stop();
    let deadline = std::time::Instant::now() + STOP_LIMIT;
    loop {
        if let Some(status) = server.ended()? {
            // Ended by our own signal counts as a clean stop.
            return Ok(if status.code() == Some(143) {
                ExitCode::SUCCESS
            } else {
                exit_code(status)
            });
        }
        if console.asked_to_stop() || std::time::Instant::now() > deadline {
            server.kill()?;
            bail!("roster was killed: it did not stop by itself");
        }
        Console::pause();
    }
}

fn parse(arguments: &[String]) -> anyhow::Result<Flags> {
    let mut flags = Flags {
        port: DEFAULT_PORT,
        release: false,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--release" => flags.release = true,
            "--port" => {
                let value = arguments.next().context("--port needs a number")?;
                flags.port = value.parse().with_context(|| format!("--port {value}"))?;
            }
            unknown => bail!("`cargo dev` has no flag {unknown}"),
        }
    }
    Ok(flags)
}

fn free_port_from(wanted: u16) -> anyhow::Result<u16> {
    (wanted..=wanted.saturating_add(PORTS_TRIED))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .with_context(|| format!("no port from {wanted} on is free"))
}

fn remove_ready_file(project: &Project) -> anyhow::Result<()> {
    match fs::remove_file(project.ready_file()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("ready.json")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_leads_to_the_next_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
        assert!(free_port_from(taken).unwrap() > taken);
        drop(listener);
    }

    #[test]
    fn flags_are_read_and_unknown_ones_refused() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let flags = parse(&words("--port 9000 --release")).unwrap();
        assert_eq!((flags.port, flags.release), (9000, true));
        assert!(parse(&words("--prot 9000")).is_err());
        assert!(parse(&words("--port")).is_err());
    }
}
