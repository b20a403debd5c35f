//! `cargo dev conform`: schemathesis over every route of a server, whose answers must be those of its own OpenAPI.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use roster_dev::kek;
use roster_dev::supervise::{StopSignal, Supervised};
use serde_json::Value;

use crate::console::{Console, exit_code};
use crate::project::{Project, start};

/// What is held against the document.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Requests of each operation; a `--max-examples` of the caller comes later and counts.
const EXAMPLES: &str = "30";
/// How long the server may take to start, and to stop.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) fn run(
    project: &Project,
    console: &mut Console,
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    let schemathesis = project.environment.find_program("schemathesis").context(
        "schemathesis is not in PATH: make a virtual environment, `pip install schemathesis`, and add its bin folder",
    )?;
    let mut build = project.cargo();
    build.args(["build", "--package", "roster-server", "--bin", "roster"]);
    console.require("the build", &mut build)?;

    let options = project.throwaway_stack("conform");
    let folder = options.data_dir.clone();
    let stack = start(options)?;
    fs::create_dir_all(&folder)?;
    let (key, ready) = (folder.join("kek"), folder.join("ready.json"));
    kek::ensure(&key)?;
    let log = fs::File::create(folder.join("roster.log"))?;
    let mut command = Command::new(project.roster("debug"));
    command
        .arg("serve")
        .current_dir(&folder)
        .env("DATABASE_URL", stack.database_url())
        .env("NATS_URL", stack.nats_url())
        .env("ROSTER_KEK_FILE", &key)
        .env("ROSTER_DATA_DIR", folder.join("data"))
        .env("ROSTER_LISTEN", "127.0.0.1:0")
        .env("ROSTER_DEMO", "true")
        .env("ROSTER_READY_FILE", &ready);
    let mut server = Supervised::start(&command, StopSignal::Terminate, None, Some(&log), LIMIT)
        .context("start roster")?;
    let deadline = Instant::now() + LIMIT;
    while !ready.exists() {
        ensure!(
            server.ended()?.is_none() && Instant::now() < deadline,
            "roster does not start:\n{}",
            fs::read_to_string(folder.join("roster.log")).unwrap_or_default()
        );
        Console::pause();
    }
    let said: Value = serde_json::from_slice(&fs::read(&ready)?)?;
    let (Some(url), Some(api_key)) = (said["url"].as_str(), said["api_key"].as_str()) else {
        bail!("{} lacks the URL or the credential", ready.display());
    };
    let mut command = Command::new(schemathesis);
    command
        .current_dir(&folder)
        .env("ROSTER_READY_FILE", &ready)
        .env(
            "SCHEMATHESIS_HOOKS",
            project.root.join("deploy/dev/schemathesis_hooks.py"),
        )
        .arg("--config-file")
        .arg(project.root.join("deploy/dev/schemathesis.toml"))
        .arg("run")
        .arg(format!("{}/openapi.json", url.trim_end_matches('/')))
        .args(["--header", &format!("Authorization: Bearer {api_key}")])
        .args(["--checks", CHECKS, "--phases", "coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES])
        .args(["--generation-with-security-parameters", "false"])
        .args(["--generation-database", "none", "--continue-on-failure"])
        .args(["--warnings", "off", "--suppress-health-check", "all"])
        .args(arguments);
    let outcome = console.run(&mut command);
    server.stop()?;
    stack.stop()?;
    Ok(exit_code(outcome?))
}
