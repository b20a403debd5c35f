//! `roster sync`: connections of a running server: run one, list them, try one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::client::{Target, TargetArgs};
use crate::config::Settings;
use crate::output;

/// How often the progress is asked for.
const LOOK: Duration = Duration::from_millis(500);
/// Questions in a row that may fail: the server may restart meanwhile, the run goes on.
const PATIENCE: u32 = 100;

#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a run of a connection and wait for its end.
    Run {
        /// The id of the connection, or its name.
        connection: String,
        #[command(flatten)]
        target: TargetArgs,
        /// Read everything.
        #[arg(long)]
        full: bool,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
        /// Take away more rows than the guard allows.
        #[arg(long)]
        confirm_deletes: bool,
    },
    /// List connections.
    List {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Try whether a connection works.
    Test {
        /// The id of the connection, or its name.
        connection: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

pub(super) async fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Run {
            connection,
            target,
            full,
            dry_run,
            confirm_deletes,
        } => {
            let target = Target::of(target, settings)?;
            let mut members = json!({
                "connection_id": id_of(&target, &connection).await?,
                "dry_run": dry_run,
                "confirm_deletes": confirm_deletes,
            });
            if full {
                members["mode"] = json!("full");
            }
            let started = target.ask("connections/sync", members).await?;
            let run = started["run_id"]
                .as_str()
                .context("the server's answer has no run_id")?;
            report(&wait(&target, run).await?)
        }
        Command::List { target } => {
            let target = Target::of(target, settings)?;
            for item in items(&target, json!({})).await? {
                let word = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
                output::line(format_args!(
                    "{}  {}  {}  {}  {} customers  next {}",
                    word("connection_id"),
                    word("provider"),
                    word("name"),
                    word("status"),
                    item["customer_count"],
                    word("next_run_at"),
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Test { connection, target } => {
            let target = Target::of(target, settings)?;
            let id = id_of(&target, &connection).await?;
            let members = json!({ "connection_id": id });
            let found = target.ask("connections/test", members).await?;
            for check in found["checks"].as_array().into_iter().flatten() {
                let sign = if check["ok"] == true { "ok" } else { "FAILED" };
                output::line(format_args!(
                    "{}: {sign} {}",
                    check["name"].as_str().unwrap_or_default(),
                    check["message"].as_str().unwrap_or_default()
                ))?;
            }
            Ok(exit(found["ok"] == true))
        }
    }
}

async fn items(target: &Target, mut members: Value) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    members["page_size"] = json!(200);
    for page in 1.. {
        members["page"] = json!(page);
        let answer = target.ask("connections/list", members.clone()).await?;
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        if items.is_empty() {
            break;
        }
        all.extend(items);
    }
    Ok(all)
}

/// The id of a connection that is named by its id or its name.
async fn id_of(target: &Target, connection: &str) -> anyhow::Result<String> {
    if connection.starts_with("dconn_") {
        return Ok(connection.to_owned());
    }
    let found = items(target, json!({ "search": connection })).await?;
    let named = found.iter().find(|item| item["name"] == connection);
    let id = named.and_then(|item| item["connection_id"].as_str());
    Ok(id
        .with_context(|| format!("no connection is called {connection}"))?
        .to_owned())
}

async fn wait(target: &Target, run_id: &str) -> anyhow::Result<Value> {
    output::note(format_args!("run {run_id}"));
    let bar = output::count_bar(None, "records");
    let mut failures = 0;
    loop {
        match target.ask("runs/get", json!({ "run_id": run_id })).await {
            Ok(state) if !state["finished_at"].is_null() => {
                bar.finish_and_clear();
                return Ok(state);
            }
            Ok(state) => {
                failures = 0;
                bar.set_position(state["progress"]["records"].as_u64().unwrap_or_default());
            }
            Err(error) if failures >= PATIENCE => {
                bail!(error.context(format!(
                    "run {run_id} goes on, but the server does not tell how"
                )))
            }
            Err(_) => failures += 1,
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Prints the counts and the first failed records; whether all went well is the exit code.
fn report(run: &Value) -> anyhow::Result<ExitCode> {
    let status = run["status"].as_str().unwrap_or_default();
    let count = |name: &str| run["counts"][name].as_u64().unwrap_or_default();
    output::line(format_args!(
        "{status}: {} records = {} created + {} updated + {} unchanged + {} skipped + {} failed; {} gone at the source: {} \
         disabled, {} deleted, {} held back",
        count("read"),
        count("created"),
        count("updated"),
        count("unchanged"),
        count("skipped"),
        count("failed"),
        count("removed_at_source"),
        count("disabled"),
        count("deleted"),
        count("deletes_held_back"),
    ))?;
    if let Some(message) = run["message"].as_str() {
        output::line(format_args!("{message}"))?;
    }
    for row in run["errors_sample"].as_array().into_iter().flatten() {
        output::line(format_args!(
            "record {} {}: {}",
            row["row"],
            row["source_id"].as_str().unwrap_or_default(),
            row["message"].as_str().unwrap_or_default()
        ))?;
    }
    Ok(exit(status == "succeeded"))
}

fn exit(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
