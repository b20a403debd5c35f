//! `cargo dev check`: what CI runs before the tests; the first failure ends it.

use std::process::{ExitCode, Stdio};

use crate::console::Console;
use crate::project::Project;
use crate::sqlx_data;

const STEPS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    (
        "layers",
        &[
            // Features are those of the packages that are selected: as in `cargo dev test`, nothing is built twice.
            "test",
            "--workspace",
            "--test",
            "suite",
            "layers",
        ],
    ),
];

pub(crate) fn run(project: &Project, console: &mut Console) -> anyhow::Result<ExitCode> {
    for (name, arguments) in STEPS {
        println!("== {name}");
        console.require(name, project.cargo().args(arguments))?;
    }
    println!("== sqlx data");
    sqlx_data::compare(project, console)?;
    if has_deny(project) {
        println!("== licences");
        console.require(
            "licences",
            project.cargo().args(["deny", "check", "licenses"]),
        )?;
    } else {
        println!("== licences: skipped, cargo-deny is not installed");
    }
    println!("all checks passed");
    Ok(ExitCode::SUCCESS)
}

fn has_deny(project: &Project) -> bool {
    let mut command = project.cargo();
    command
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
