//! `roster log tail`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use chrono::SecondsFormat;
use clap::Parser;
use roster_store::{Cell, Recorded, StoreError};
use serde_json::{Value, json};

use crate::output;

/// Events that are shown where no start is given.
const RECENT: i64 = 20;
/// Events read at once.
const PAGE: i64 = 1_000;
/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
pub(in crate::cli) struct Args {
    /// The first position; without it the last 20 events are shown.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// Go on with what is appended.
    #[arg(long)]
    follow: bool,
    /// Print the decoded events too, personal values included.
    #[arg(long)]
    personal: bool,
}

pub(super) async fn run(args: &Args, cell: &Cell) -> anyhow::Result<ExitCode> {
    let mut after = match args.from {
        Some(from) => from - 1,
        None => (cell.head_position().await? - RECENT).max(0),
    };
    let mut projects = HashMap::new();
    loop {
        let page = cell.read_page(after, PAGE).await?;
        for recorded in &page {
            show(args, cell, &mut projects, recorded).await?;
            after = recorded.position;
        }
        if page.is_empty() {
            if !args.follow {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn show(
    args: &Args,
    cell: &Cell,
    projects: &mut HashMap<i32, String>,
    recorded: &Recorded,
) -> anyhow::Result<()> {
    let project = if let Some(known) = projects.get(&recorded.project_no) {
        known.clone()
    } else {
        let project = cell.project_by_no(recorded.project_no).await?;
        let name = project.map_or_else(
            || format!("#{}", recorded.project_no),
            |project| project.scope.to_string(),
        );
        projects.insert(recorded.project_no, name.clone());
        name
    };
    output::line(format_args!(
        "{:>9} {} {:<24} {project} {} v{}",
        recorded.position,
        recorded
            .recorded_at
            .to_rfc3339_opts(SecondsFormat::Millis, true),
        recorded.name().unwrap_or("(unknown to this build)"),
        recorded.stream,
        recorded.version
    ))?;
    if args.personal {
        output::line(format_args!("{:>9} {}", "", decoded(recorded)?))?;
    }
    Ok(())
}

/// The event and its cause as JSON.
fn decoded(recorded: &Recorded) -> Result<Value, StoreError> {
    let meta = recorded.meta()?;
    let subject = meta.subject.known();
    Ok(json!({
        "event": recorded.payload()?,
        "principal": meta.principal,
        "subject": subject,
        "request_id": meta.request_id,
        "traceparent": meta.traceparent,
    }))
}
