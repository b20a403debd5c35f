//! `cargo dev bench` and `cargo dev soak`: the measurements, and a steady load, on a fresh durable stack.

use std::process::{Command, ExitCode};

use roster_dev::stack::StackOptions;

use crate::console::{Console, exit_code};
use crate::project::{Project, start};

pub(crate) fn run(
    project: &Project,
    console: &mut Console,
    program: &str,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    let mut build = project.cargo();
    build.args([
        "build",
        "--release",
        "--bins",
        "--package",
        "roster-server",
        "--package",
        "roster-tests",
    ]);
    console.require("the build", &mut build)?;

    let options = StackOptions {
        runtime_dir: project.devstack(),
        keep: false,
        ..StackOptions::durable(project.devstack().join(program))
    };
    options.remove_data()?;
    let stack = start(options)?;
    let mut command = Command::new(project.target.join("release").join(program));
    command
        .args(arguments)
        .current_dir(&project.root)
        .env_remove("DATABASE_URL")
        .env_remove("NATS_URL")
        .env("ROSTER_BENCH_DATABASE_URL", stack.maintenance_url())
        .env("ROSTER_BENCH_NATS_URL", stack.nats_url())
        .env("ROSTER_BENCH_BIN", project.roster("release"));
    if let Some(folder) = stack.postgres_bin() {
        command.env("ROSTER_BENCH_PG_BIN", folder);
    }
    let outcome = console.run(&mut command);
    stack.stop()?;
    Ok(exit_code(outcome?))
}
