//! `roster import`: streams a CSV file to a running server and waits for its end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use futures::{StreamExt, stream};
use reqwest::Body;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::client::{self, Target, TargetArgs};
use crate::config::Settings;
use crate::output;

/// Bytes read from the file at once.
const PIECE: usize = 256 * 1024;
/// How often the progress is asked for.
const LOOK: Duration = Duration::from_millis(300);
/// Questions in a row that may fail: the server may restart meanwhile, the import goes on.
const PATIENCE: u32 = 100;
/// Failed rows that are shown.
const SHOWN: usize = 10;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The file (`.gz` is sent as it is).
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    /// What the rows are tagged with.
    #[arg(long)]
    provider: Option<String>,
    /// The character between cells, or `tab`; found out without it.
    #[arg(long)]
    delimiter: Option<String>,
    /// What happens to a row whose customer exists.
    #[arg(long, value_enum)]
    on_conflict: Option<OnConflict>,
    /// What an empty cell does to its field.
    #[arg(long, value_enum)]
    empty_cells: Option<EmptyCells>,
    /// Only say what would happen.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnConflict {
    Update,
    Skip,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EmptyCells {
    Clear,
    Keep,
}

pub(super) async fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let query = query(&args);
    let target = Target::of(args.target, settings)?;
    let started = upload(&target, &args.file, &query).await?;
    let result = wait(&target, started).await?;
    report(&result)
}

fn query(args: &Args) -> Vec<(&'static str, String)> {
    let conflict = args.on_conflict.map(|choice| match choice {
        OnConflict::Update => "update".to_owned(),
        OnConflict::Skip => "skip".to_owned(),
    });
    let empty = args.empty_cells.map(|choice| match choice {
        EmptyCells::Clear => "clear".to_owned(),
        EmptyCells::Keep => "keep".to_owned(),
    });
    [
        ("provider", args.provider.clone()),
        ("delimiter", args.delimiter.clone()),
        ("on_conflict", conflict),
        ("empty_cells", empty),
        ("dry_run", args.dry_run.then(|| "true".to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

async fn upload(
    target: &Target,
    path: &PathBuf,
    query: &[(&'static str, String)],
) -> anyhow::Result<Value> {
    let file = File::open(path)
        .await
        .with_context(|| path.display().to_string())?;
    let size = file
        .metadata()
        .await
        .with_context(|| path.display().to_string())?
        .len();
    let bar = output::byte_bar(Some(size), "upload");
    let shown = bar.clone();
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        let length = file.read(&mut piece).await?;
        piece.truncate(length);
        Ok::<_, std::io::Error>((length > 0).then_some((piece, file)))
    });
    let pieces = pieces.inspect(move |piece| shown.inc(piece.as_ref().map_or(0, Vec::len) as u64));
    let mut request = target
        .post("users/import-csv")
        .query(&target.scope())
        .query(query);
    request = request
        .header("content-type", "text/csv")
        .header("content-length", size);
    if path.extension().is_some_and(|ending| ending == "gz") {
        request = request.header("content-encoding", "gzip");
    }
    let answer = client::answer(request.body(Body::wrap_stream(pieces)).send().await?).await;
    bar.finish_and_clear();
    answer
}

async fn wait(target: &Target, started: Value) -> anyhow::Result<Value> {
    if is_over(&started) {
        return Ok(started);
    }
    let id = started["import_id"]
        .as_str()
        .context("the server's answer has no import_id")?
        .to_owned();
    output::note(format_args!("import {id}"));
    let bar = output::count_bar(Some(100), "rows");
    let mut failures = 0;
    loop {
        match target
            .ask("users/imports/get", json!({ "import_id": id }))
            .await
        {
            Ok(state) if is_over(&state) => {
                bar.finish_and_clear();
                return Ok(state);
            }
            Ok(state) => {
                failures = 0;
                if let Some(total) = state["total"].as_u64().filter(|total| *total > 0) {
                    bar.set_length(total);
                    bar.set_position(done(&state));
                } else {
                    bar.set_position(state["progress_pct"].as_f64().map_or(0, whole));
                }
            }
            Err(error) if failures >= PATIENCE => {
                bail!(error.context(format!(
                    "import {id} goes on, but the server does not tell how"
                )))
            }
            Err(_) => failures += 1,
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_over(state: &Value) -> bool {
    !matches!(state["status"].as_str(), None | Some("pending" | "running"))
}

fn done(state: &Value) -> u64 {
    ["created", "updated", "unchanged", "skipped", "failed"]
        .iter()
        .filter_map(|name| state[*name].as_u64())
        .sum()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage between 0 and 100"
)]
fn whole(percent: f64) -> u64 {
    percent.clamp(0.0, 100.0) as u64
}

/// Prints the counts and the first failed rows; whether every row was applied is the exit code.
fn report(result: &Value) -> anyhow::Result<ExitCode> {
    let status = result["status"].as_str().unwrap_or_default();
    let count = |name: &str| result[name].as_u64().unwrap_or_default();
    output::line(format_args!(
        "{status}: {} rows = {} created + {} updated + {} unchanged + {} skipped + {} failed; {} warnings",
        count("total"),
        count("created"),
        count("updated"),
        count("unchanged"),
        count("skipped"),
        count("failed"),
        count("warnings")
    ))?;
    let unknown: Vec<&str> = result["unknown_columns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !unknown.is_empty() {
        output::line(format_args!(
            "columns outside the schema, kept as extra fields: {}",
            unknown.join(", ")
        ))?;
    }
    for (kind, sample) in [("failed", "errors_sample"), ("warning", "warnings_sample")] {
        for row in result[sample].as_array().into_iter().flatten().take(SHOWN) {
            let word = |name: &str| row[name].as_str().filter(|text| !text.is_empty());
            let about = [word("customer_user_id"), word("field")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ");
            output::line(format_args!(
                "{kind}: row {} {about}: {}",
                row["row"],
                word("message").unwrap_or_default()
            ))?;
        }
    }
    let is_clean = status == "completed" && count("failed") == 0;
    Ok(if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
