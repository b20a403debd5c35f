//! `roster log verify`.

use std::process::ExitCode;

use roster_store::{Cell, verify};

use crate::output;

pub(super) async fn run(cell: &Cell) -> anyhow::Result<ExitCode> {
    let bar = output::count_bar(Some(0), "events");
    let report = verify::verify(cell, |done, all| {
        bar.set_length(all.unsigned_abs());
        bar.set_position(done.unsigned_abs());
    })
    .await?;
    bar.finish_and_clear();
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
    output::line(format_args!(
        "checked {} events by digest and position, {} batches as one chain, {} stream heads, {} claims",
        report.events, report.batches, report.streams, report.claims
    ))?;
    if report.findings.is_empty() {
        output::line(
            "no damage found; that nobody recomputed the whole chain is not proved by this",
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!("{} findings", report.findings.len()))?;
    Ok(ExitCode::FAILURE)
}
