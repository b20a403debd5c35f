//! `roster log verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use indicatif::ProgressBar;
use roster_store::Cell;
use roster_store::anchors::{Anchor, PublicKey};
use roster_store::verify::{Checks, Finding, Report, Stage, verify_with};

use crate::config::Settings;
use crate::{output, session};

#[derive(Debug, Parser)]
pub(in crate::cli) struct Args {
    /// A file of signed anchors; without it that of the settings, if it is there.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// A key that anchors are signed with, as 64 hexadecimal digits; may be repeated. Without one, that of the settings.
    #[arg(long = "public-key", value_name = "HEX", value_parser = PublicKey::parse)]
    public_keys: Vec<PublicKey>,
    /// Fold every stream from its events again instead of trusting its sealed snapshot; takes longer.
    #[arg(long)]
    refold: bool,
}

/// Anchors to check, and lines that are none.
#[derive(Default)]
struct Given {
    path: PathBuf,
    anchors: Option<Vec<Anchor>>,
    bad_lines: Vec<Finding>,
}

pub(super) async fn run(args: &Args, settings: &Settings, cell: &Cell) -> anyhow::Result<ExitCode> {
    let given = given(args, settings)?;
    let checks = Checks {
        anchors: given.anchors.clone(),
        refold: args.refold,
    };
    let mut bars: Option<(Stage, ProgressBar)> = None;
    let mut report = verify_with(cell, checks, |stage, done, all| {
        let bar = match &bars {
            Some((of, bar)) if *of == stage => bar,
            _ => {
                if let Some((_, before)) = bars.take() {
                    before.finish_and_clear();
                }
                let total = (all > 0).then_some(all.unsigned_abs());
                &bars
                    .insert((stage, output::count_bar(total, name(stage))))
                    .1
            }
        };
        bar.set_position(done.unsigned_abs());
    })
    .await?;
    if let Some((_, bar)) = bars {
        bar.finish_and_clear();
    }
    report.findings.extend(given.bad_lines.iter().cloned());
    let told = tell(&report, &given);
    let code = if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    output::verdict(told, code)
}

const fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Events => "events",
        Stage::Streams => "streams",
        Stage::Folding => "folding",
    }
}

/// Reads the anchors that there are.
fn given(args: &Args, settings: &Settings) -> anyhow::Result<Given> {
    let path = args
        .anchors
        .clone()
        .unwrap_or_else(|| settings.anchors_path());
    if args.anchors.is_none() && !path.exists() {
        return Ok(Given::default());
    }
    let mut keys = args.public_keys.clone();
    if keys.is_empty() {
        keys.extend(session::anchor_key(settings)?.map(|key| key.public()));
    }
    if keys.is_empty() {
        bail!(
            "{} cannot be trusted without a key: give --public-key or set anchors.key",
            path.display()
        );
    }
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("anchors in {}", path.display()))?;
    let mut anchors = Vec::new();
    let mut bad_lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match Anchor::read(line, &keys) {
            Ok(anchor) => anchors.push(anchor),
            Err(problem) => bad_lines.push(Finding {
                position: None,
                stream: None,
                message: format!("line {number} of {}: {problem}", path.display()),
            }),
        }
    }
    Ok(Given {
        path,
        anchors: Some(anchors),
        bad_lines,
    })
}

fn tell(report: &Report, given: &Given) -> std::io::Result<()> {
    for finding in &report.findings {
        let position = finding
            .position
            .map_or_else(String::new, |position| format!("position {position}: "));
        let stream = finding
            .stream
            .map_or_else(String::new, |stream| format!(" (stream {stream})"));
        output::line(format_args!(
            "DAMAGED {position}{}{stream}",
            finding.message
        ))?;
    }
    if report.unlisted > 0 {
        output::line(format_args!("… and {} more", report.unlisted))?;
    }
    output::line(format_args!(
        "checked: {} events by digest and place, {} batches as one chain, {} stream heads against the events, {} claims \
         against the states of their streams ({} states from sealed snapshots, {} folded from events)",
        report.events,
        report.batches,
        report.streams,
        report.claims,
        report.snapshots,
        report.folded
    ))?;
    let anchors = &report.anchors;
    if given.anchors.is_none() {
        output::line(
            "not proved: there are no anchors, so a chain that was computed anew and a tail that was cut with all its traces \
             would not be seen",
        )?;
    } else {
        output::line(format_args!(
            "anchors of {}: {} hold, the last at position {}: up to there the log is what was signed",
            given.path.display(),
            anchors.held,
            anchors.proved_to
        ))?;
        output::line(format_args!(
            "not proved: what was appended after position {}, and that no line was taken from the end of the file of anchors",
            anchors.proved_to
        ))?;
    }
    if anchors.lost > 0 {
        output::line(format_args!(
            "not proved: {} anchors are of an epoch that a restore ended before them",
            anchors.lost
        ))?;
    }
    for note in &report.notes {
        output::line(format_args!("not proved: {note}"))?;
    }
    if report.findings.is_empty() {
        output::line("no damage found")
    } else {
        let all = report.findings.len() as u64 + report.unlisted;
        output::line(format_args!("{all} findings"))
    }
}
