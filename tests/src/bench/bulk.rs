//! `bulk_append`: chunks of 5,000 new customers through the store, sealing and encoding included, against L1.

use std::sync::Arc;

use super::Bench;
use super::copy::{LogCopy, equal_tables};
use super::database::{CHUNK, Database};
use super::report::{Report, Target};
use super::stats::rate;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["bulk_append"];

/// Each run has an empty log of its own, and copies that log into empty tables.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let folder = bench.out.join("log-bulk");
    let mut pairs = Vec::new();
    let mut note = String::new();
    for _ in 0..bench.plan.runs {
        let database = Database::create(&bench.machine, "bulk").await?;
        let open = Arc::new(database.open().await?);
        let chunks = open.chunks(0..bench.plan.events)?;
        database.quiet().await?;
        let ours = open.append(chunks).await?;
        open.close().await;

        let mut connection = database.connect().await?;
        equal_tables(&mut connection).await?;
        let copy = LogCopy::take(&mut connection, &folder).await?;
        database.quiet().await?;
        let limit = copy.replay(&mut connection).await?;
        pairs.push((rate(copy.events, ours), rate(copy.events, limit)));
        note = format!(
            "{} events in chunks of {CHUNK}, {} bytes an event in all tables",
            copy.events,
            copy.bytes / copy.events as u64
        );
        copy.remove().await?;
        drop(connection);
        database.drop().await?;
    }
    report.add(
        Target::rate("bulk_append", "events/s", "L1").reach(0.45, 0.60),
        &pairs,
        Some(note),
    );
    Ok(())
}
