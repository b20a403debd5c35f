//! `cargo dev faults`: the campaign of faults, on servers that it starts and breaks itself.

use std::process::{Command, ExitCode};

use crate::console::{Console, exit_code};
use crate::project::Project;

pub(crate) fn run(
    project: &Project,
    console: &mut Console,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    let (release, rest): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|word| *word == "--release");
    let profile = if release.is_empty() {
        "debug"
    } else {
        "release"
    };
    let mut build = project.cargo();
    build.args(["build", "--bins", "--package", "roster-server"]);
    build
        .args(["--package", "roster-tests"])
        .args(release.first());
    console.require("the build", &mut build)?;
    let given = project.environment.test_binary.clone();
    let roster = given.unwrap_or_else(|| project.roster(profile));
    let mut command = Command::new(project.target.join(profile).join("faults"));
    command
        .args(rest)
        .current_dir(&project.root)
        .env_remove("DATABASE_URL")
        .env_remove("NATS_URL")
        .env("ROSTER_TEST_BIN", roster);
    Ok(exit_code(console.run(&mut command)?))
}
