//! `cargo dev`: run, test, check and measure Roster on a machine with Rust, a C compiler and
//! Python 3 with pip.
//!
//! Each command is a module. The servers come from the library of this crate.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool talks to its terminal"
)]

mod bench;
mod check;
mod conform;
mod console;
mod data;
mod faults;
mod project;
mod sqlx_data;
mod test;
mod up;

use std::process::ExitCode;

use anyhow::bail;

use crate::console::Console;
use crate::project::Project;

const HELP: &str = "\
cargo dev [up] [--port N] [--release]   run Roster with its Postgres and NATS; Ctrl-C stops all
cargo dev test [--release] [args]       run every test on a throwaway stack; args go to nextest or
                                        cargo test
cargo dev check                         format, clippy, layers, sqlx data, licences
cargo dev sqlx                          refresh .sqlx/ after a change of a query or a migration
cargo dev bench [--quick] [names]       measure on a durable stack of its own
cargo dev soak [--minutes 20]           a steady mixed load, and whether anything grows
cargo dev conform [args]                hold a server against its OpenAPI; args go to schemathesis
cargo dev faults [--release] [args]     break servers, Postgres and NATS under load, and look for losses
cargo dev psql [args]                   psql on the development database
cargo dev reset [--yes]                 remove .roster/: data, key and credentials
cargo dev help                          this text

DATABASE_URL, NATS_URL    use these servers and start none
ROSTER_TEST_PATIENCE      seconds that anything may take in long versions of tests
ROSTER_RUNTIME            `wheels`: only the pinned wheels; `installed`: only installed servers
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (command, rest) = match arguments.split_first() {
        None => ("up", arguments),
        Some((first, _)) if matches!(first.as_str(), "--port" | "--release") => ("up", arguments),
        Some((first, rest)) => (first.as_str(), rest),
    };
    if matches!(command, "help" | "--help" | "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut console = Console::open()?;
    let project = Project::find()?;
    match command {
        "up" => up::run(&project, &mut console, rest),
        "test" => test::run(&project, &mut console, rest),
        "check" => check::run(&project, &mut console),
        "sqlx" => sqlx_data::refresh(&project, &mut console),
        "bench" => bench::run(&project, &mut console, "bench", rest),
        "conform" => conform::run(&project, &mut console, rest),
        "soak" => bench::run(&project, &mut console, "soak", rest),
        "faults" => faults::run(&project, &mut console, rest),
        "psql" => data::psql(&project, &mut console, rest),
        "reset" => data::reset(&project, rest),
        unknown => bail!("there is no command `{unknown}`; `cargo dev help` lists them"),
    }
}
