//! `cargo dev test`: every test, on one throwaway stack for the run. `--release` builds and runs tests and servers as they
//! are shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use roster_dev::stack::{Stack, StackOptions};

use crate::console::{Console, exit_code};
use crate::project::{Project, start};

pub(crate) fn run(
    project: &Project,
    console: &mut Console,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    sweep(project);
    // Tests start real server processes. Building them with the tests shares the dependencies.
    let whole = !arguments
        .iter()
        .any(|word| word.starts_with("-p") || word.starts_with("--package"));
    let mut build = project.cargo();
    if whole {
        build.args(["build", "--workspace", "--bins", "--tests"]);
    } else {
        build.args(["build", "--package", "roster-server", "--bin", "roster"]);
    }
    build.args(is_release(arguments).then_some("--release"));
    console.require("the build", &mut build)?;

    let stack = start(project.throwaway_stack("run"))?;
    let outcome = test(project, console, arguments, whole, &stack);
    stack.stop()?;
    outcome
}

fn test(
    project: &Project,
    console: &mut Console,
    arguments: &[String],
    whole: bool,
    stack: &Stack,
) -> anyhow::Result<ExitCode> {
    let nextest = has_nextest(project);
    let mut command = project.cargo();
    command.args(if nextest {
        ["nextest", "run"].as_slice()
    } else {
        &["test"]
    });
    if nextest && project.environment.is_patient {
        command.args(["--profile", "patient"]);
    }
    command.args(whole.then_some("--workspace")).args(arguments);
    let roster = roster(project, arguments);
    let status = console.run(export(&mut command, stack, &roster))?;
    // nextest leaves documentation tests to cargo; arguments are in its own language.
    if !status.success() || !nextest || !arguments.is_empty() {
        return Ok(exit_code(status));
    }
    let mut command = project.cargo();
    command.args(["test", "--doc", "--workspace"]);
    Ok(exit_code(console.run(export(
        &mut command,
        stack,
        &roster,
    ))?))
}

fn is_release(arguments: &[String]) -> bool {
    arguments
        .iter()
        .any(|word| word == "--release" || word == "-r")
}

/// The server that tests start.
fn roster(project: &Project, arguments: &[String]) -> PathBuf {
    let profile = if is_release(arguments) {
        "release"
    } else {
        "debug"
    };
    let given = project.environment.test_binary.clone();
    given.unwrap_or_else(|| project.roster(profile))
}

fn export<'a>(command: &'a mut Command, stack: &Stack, roster: &Path) -> &'a mut Command {
    command
        .env("ROSTER_TEST_DATABASE_URL", stack.maintenance_url())
        .env("ROSTER_TEST_NATS_URL", stack.nats_url())
        .env("ROSTER_TEST_BIN", roster);
    let folders = [
        (
            "ROSTER_TEST_PG_BIN",
            stack.postgres_bin().map(Path::to_path_buf),
        ),
        ("ROSTER_TEST_NATS_DIR", stack.nats_dir()),
    ];
    for (name, folder) in folders {
        match folder {
            Some(folder) => command.env(name, folder),
            None => command.env_remove(name),
        };
    }
    command
}

fn has_nextest(project: &Project) -> bool {
    let mut command = project.cargo();
    command
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Removes what killed runs left behind. What can't be removed is somebody's running stack.
fn sweep(project: &Project) {
    for entry in fs::read_dir(project.devstack())
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("run-") {
            let _ = StackOptions::throwaway(entry.path()).remove_data();
        }
    }
}
