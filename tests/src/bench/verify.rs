//! `log_verify`: everything that `roster log verify` checks, against binary COPY of the events to nowhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use roster_domain::customer::{Customer, decide};
use roster_domain::stream::kind;
use roster_store::ChunkVerdict;
use roster_store::anchors::Anchor;
use roster_store::verify::{Checks, Stage, verify_with};
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use super::Bench;
use super::database::{CHUNK, Database, Open};
use super::report::{Report, Target};
use super::stats::{millis, rate};
use crate::log::upsert;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["log_verify", "log_verify_one_event"];

/// Times that each customer of `log_verify` changes after the first event.
const CHANGES: u32 = 3;

/// Two logs of as many events: one of customers who changed since they came, and one of an import that nothing followed,
/// where every event has a state to open and two claims.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let events = bench.plan.events;
    if bench.wants(&ROWS[..1]) {
        let target = Target::rate(ROWS[0], "events/s", "COPY out").reach(0.5, 0.8);
        measure(bench, report, target, events / (CHANGES + 1), CHANGES).await?;
    }
    if bench.wants(&ROWS[1..]) {
        let target = Target::rate(ROWS[1], "events/s", "COPY out");
        measure(bench, report, target, events, 0).await?;
    }
    Ok(())
}

async fn measure(
    bench: &Bench,
    report: &mut Report,
    target: Target,
    customers: u32,
    changes: u32,
) -> anyhow::Result<()> {
    let database = Database::create(&bench.machine, "verify").await?;
    let open = Arc::new(database.open().await?);
    open.fill(0..customers).await?;
    for change in 0..changes {
        change_all(&open, change).await?;
    }
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
        let mut walked = started;
        let verified = verify_with(&open.cell, checks, |stage, _, _| {
            if stage == Stage::Events {
                walked = Instant::now();
            }
        })
        .await?;
        let ours = started.elapsed();
        anyhow::ensure!(verified.findings.is_empty(), "{:?}", verified.findings);
        anyhow::ensure!(verified.anchors.held == anchors.len() as u64);
        database.quiet().await?;
        let limit = copy_out(&mut connection).await?;
        let events = usize::try_from(verified.events)?;
        pairs.push((rate(events, ours), rate(events, limit)));
        note = format!(
            "with {} streams and {} claims; events and chain alone took {:.0} ms of {:.0}",
            verified.streams,
            verified.claims,
            millis(walked - started),
            millis(ours)
        );
    }
    open.close().await;
    drop(connection);
    database.drop().await?;
    report.add(target, &pairs, Some(note));
    Ok(())
}

/// One more event for every customer.
async fn change_all(open: &Open, change: u32) -> anyhow::Result<()> {
    let notes = format!("changed {change} times before");
    let mut after = Uuid::nil();
    loop {
        let page: Vec<Uuid> = sqlx::query_scalar(
            "SELECT stream_id FROM log_streams WHERE stream_id > $1 AND kind = $2 ORDER BY stream_id LIMIT $3",
        )
        .bind(after)
        .bind(kind::CUSTOMER)
        .bind(i64::from(CHUNK))
        .fetch_all(open.cell.pool())
        .await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = *last;
        let mut chunk = Vec::with_capacity(page.len());
        for loaded in open
            .cell
            .load_many::<Customer>(&open.project, &page)
            .await?
        {
            let id = loaded.state.customer_user_id.known().cloned();
            let command = upsert(
                &open.schema,
                &id.unwrap_or_default(),
                &[("notes", &notes)],
                1_750_000_000_000_000 + i64::from(change),
            );
            let events = decide(&loaded.state, &command)
                .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
            chunk.push(open.cell.prepare(
                &open.project,
                &loaded,
                events,
                &super::database::meta(),
            )?);
        }
        match open.cell.append_all(chunk).await? {
            ChunkVerdict::Accepted { .. } => {}
            ChunkVerdict::Lost(lost) => anyhow::bail!("a chunk lost: {:?}", lost.first()),
        }
    }
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
