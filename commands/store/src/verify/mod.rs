//! Whether the log is what it was: digests, contiguity, the chain of batches, stream heads, claims, shapes and anchors.
//!
//! Everything is read once, in one snapshot, by binary `COPY`; hashing and opening run beside the reading. A check that finds
//! damage goes on, so that all of it is named. Memory grows with the number of streams (about 50 bytes each), not of events.

mod anchored;
mod claims;
mod digests;
mod expected;
mod folding;
mod heads;
mod report;
mod states;
mod tables;
mod walk;

use std::sync::Arc;

use sqlx::{Postgres, Transaction};

use crate::anchors::Anchor;
use crate::{Cell, StoreError};

pub use report::{Finding, Report};

use report::Findings;

/// What to check beyond the tables themselves.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Anchors whose signatures hold, in any order.
    pub anchors: Option<Vec<Anchor>>,
    /// Whether every state is folded from its events again, instead of being taken from its sealed snapshot.
    pub refold: bool,
}

/// What a check is reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Events and batches.
    Events,
    /// Heads, snapshots and claims of streams.
    Streams,
    /// Streams whose state is folded from events.
    Folding,
}

/// Checks the whole log without anchors; `progress` gets the events done and their number.
pub async fn verify(cell: &Cell, mut progress: impl FnMut(i64, i64)) -> Result<Report, StoreError> {
    verify_with(cell, Checks::default(), |stage, done, all| {
        if stage == Stage::Events {
            progress(done, all);
        }
    })
    .await
}

/// Checks the whole log; `progress` gets the stage, how much of it is done, and how much there is (0: not known).
///
/// # Errors
/// Where the log cannot be read. What is wrong with it is in the report.
pub async fn verify_with(
    cell: &Cell,
    checks: Checks,
    mut progress: impl FnMut(Stage, i64, i64),
) -> Result<Report, StoreError> {
    let (mut first, mut second) = one_snapshot(cell).await?;
    let mut findings = Findings::default();
    let mut report = Report::default();

    let log = tables::Log::read(&mut first).await?;
    let anchors = anchored::Anchored::new(
        cell.name(),
        log.epoch,
        checks.anchors.unwrap_or_default(),
        &mut findings,
    );
    let walked = walk::walk(&mut first, &mut second, anchors, |done| {
        progress(Stage::Events, done, log.head);
    })
    .await?;
    report.events = walked.events;
    report.batches = walked.batches;
    report.anchors = walked.anchors.finish(walked.head, &mut findings);
    findings.append(walked.findings);
    tables::check_types(&mut first, &walked.types, &mut findings, &mut report.notes).await?;

    let context = Arc::new(states::Context::new(
        cell,
        tables::projects(cell, &mut first).await?,
        walked.streams,
        checks.refold,
    ));
    let mut expected = expected::Expected::sums();
    let (states, actual) = tokio::join!(
        states::check(&mut first, &context, &mut expected, &mut progress),
        claims::read(&mut second, &context, &claims::Wanted::Sums),
    );
    let (states, actual) = (states?, actual?);
    findings.append(states.findings);
    findings.append(context.headless());
    report.streams = states.streams;
    report.snapshots = states.snapshots;
    report.folded = states.folded;
    report.claims = actual.count;
    let differing = expected.differing(&actual.sums);
    if !differing.is_empty() {
        // Which claims these are is told by a second reading of the streams concerned.
        let mut listed = expected::Expected::listed(differing.clone());
        let again = states::check(&mut first, &context, &mut listed, &mut |_, _, _| ()).await?;
        let actual = claims::read(&mut second, &context, &claims::Wanted::Rows(differing)).await?;
        claims::compare(&listed.rows(), &actual.rows, &again.unknown, &mut findings);
    }
    (report.findings, report.unlisted) = findings.in_order();
    first.rollback().await?;
    second.rollback().await?;
    Ok(report)
}

/// Two transactions that see the same rows, set up for reading everything: the service's role is set up for look-ups.
async fn one_snapshot(
    cell: &Cell,
) -> Result<
    (
        Transaction<'static, Postgres>,
        Transaction<'static, Postgres>,
    ),
    StoreError,
> {
    let begin = |snapshot: &str| {
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
             {snapshot}
             SET LOCAL enable_seqscan = on;
             SET LOCAL enable_hashjoin = on;
             SET LOCAL enable_mergejoin = on;
             SET LOCAL statement_timeout = 0"
        )
    };
    let mut first = cell.pool().begin_with(begin("")).await?;
    let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
        .fetch_one(&mut *first)
        .await?;
    let import = format!("SET TRANSACTION SNAPSHOT '{snapshot}';");
    let second = cell.pool().begin_with(begin(&import)).await?;
    Ok((first, second))
}
