//! `cargo dev psql` and `cargo dev reset`: the data that `cargo dev` keeps.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::console::{Console, exit_code};
use crate::project::{Project, start};

/// psql on the running development database, or on one started for it.
pub(crate) fn psql(
    project: &Project,
    console: &mut Console,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    let options = project.kept_stack();
    let folder = options
        .postgres_binaries()
        .map(|binaries| binaries.folder)
        .ok();
    let program = folder
        .map(|folder| folder.join("psql"))
        .filter(|psql| psql.is_file())
        .or_else(|| project.environment.find_program("psql"))
        .context("psql is not installed")?;
    let session = |url: &str| console.run(Command::new(program).arg(url).args(arguments));
    if options.is_running()? {
        return Ok(exit_code(session(&running_database(
            project.ready_file(),
        )?)?));
    }
    let stack = start(options)?;
    let outcome = session(stack.database_url());
    stack.stop()?;
    Ok(exit_code(outcome?))
}

fn running_database(ready_file: PathBuf) -> anyhow::Result<String> {
    let text = fs::read(ready_file).context("`cargo dev` is starting: no ready.json yet")?;
    let ready: Value = serde_json::from_slice(&text).context("ready.json")?;
    let url = ready["database_url"]
        .as_str()
        .context("ready.json has no database_url")?;
    Ok(url.to_owned())
}

/// Removes `.roster/` unless something runs from it.
pub(crate) fn reset(project: &Project, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = project.kept_stack();
    ensure!(!options.is_running()?, "`cargo dev` runs: stop it first");
    let sure = match arguments {
        [] => confirmed()?,
        [flag] if flag == "--yes" => true,
        _ => bail!("`cargo dev reset` knows only --yes"),
    };
    if !sure {
        println!("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    options.remove_data()?;
    println!("removed {}", project.home().display());
    Ok(ExitCode::SUCCESS)
}

fn confirmed() -> anyhow::Result<bool> {
    print!("Remove .roster/ with all data, the key and the credentials? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
