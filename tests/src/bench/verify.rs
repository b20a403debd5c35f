//! `log_verify`: everything that `roster log verify` checks, against binary COPY of the events to nowhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use roster_store::anchors::Anchor;
use roster_store::verify::{Checks, verify_with};
use sqlx::{Executor, PgConnection};

use super::Bench;
use super::database::Database;
use super::report::{Report, Target};
use super::stats::{millis, rate};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["log_verify"];

/// Fills a log once. Every customer has one event, so there are as many states and twice as many claims as events: the most
/// that there can be to check for an event.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let database = Database::create(&bench.machine, "verify").await?;
    let open = Arc::new(database.open().await?);
    open.fill(0..bench.plan.events).await?;
    let mut connection = database.connect().await?;
    connection
        .execute("VACUUM ANALYZE log_events, log_streams, log_claims, log_batches")
        .await?;
    let anchors = anchors(&mut connection).await?;

    let mut pairs = Vec::new();
    let mut note = String::new();
    for _ in 0..bench.plan.runs {
        database.quiet().await?;
        let started = Instant::now();
        let checks = Checks {
            anchors: Some(anchors.clone()),
            refold: false,
        };
        let mut stages: Vec<(_, Instant)> = Vec::new();
        let verified = verify_with(&open.cell, checks, |stage, _, _| match stages.last_mut() {
            Some((of, at)) if *of == stage => *at = Instant::now(),
            _ => stages.push((stage, Instant::now())),
        })
        .await?;
        let ours = started.elapsed();
        anyhow::ensure!(verified.findings.is_empty(), "{:?}", verified.findings);
        anyhow::ensure!(verified.anchors.held == anchors.len() as u64);
        database.quiet().await?;
        let limit = copy_out(&mut connection).await?;
        let events = usize::try_from(verified.events)?;
        pairs.push((rate(events, ours), rate(events, limit)));
        let until: Vec<String> = stages
            .iter()
            .map(|(stage, at)| format!("{stage:?} until {:.0} ms", millis(*at - started)))
            .collect();
        note = format!(
            "{} streams and {} claims are checked too; {}",
            verified.streams,
            verified.claims,
            until.join(", ")
        );
    }
    open.close().await;
    drop(connection);
    database.drop().await?;
    report.add(
        Target::rate("log_verify", "events/s", "COPY out").reach(0.5, 0.8),
        &pairs,
        Some(note),
    );
    Ok(())
}

/// An anchor for every batch.
async fn anchors(connection: &mut PgConnection) -> anyhow::Result<Vec<Anchor>> {
    let batches: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT last_position, digest FROM log_batches ORDER BY last_position")
            .fetch_all(connection)
            .await?;
    batches
        .into_iter()
        .map(|(position, digest)| {
            Ok(Anchor {
                cell: crate::database::CELL.into(),
                epoch: 1,
                position,
                digest: digest
                    .try_into()
                    .map_err(|_| anyhow::anyhow!("no digest"))?,
                at: std::time::SystemTime::UNIX_EPOCH.into(),
            })
        })
        .collect()
}

/// The time of reading the events out in their order, and doing nothing with them.
async fn copy_out(connection: &mut PgConnection) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut rows = connection
        .copy_out_raw("COPY (SELECT * FROM log_events ORDER BY position) TO STDOUT (FORMAT binary)")
        .await?;
    let mut bytes = 0;
    while let Some(piece) = rows.try_next().await? {
        bytes += piece.len();
    }
    anyhow::ensure!(bytes > 0, "nothing was copied");
    Ok(started.elapsed())
}
