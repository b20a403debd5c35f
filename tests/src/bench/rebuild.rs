//! `rebuild`: the customer index made anew from the log, against the slower of copying the log out and of copying the same
//! rows in and building their indexes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use roster_projections::rebuild::{Target as Tables, rebuild};
use sqlx::{Executor, PgConnection};

use super::Bench;
use super::copy::SCHEMA;
use super::database::Database;
use super::report::{Report, Target};
use super::stats::rate;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["rebuild"];

/// What sorting for an index may take, for the rebuild and for its limit.
const INDEX_MEMORY: &str = "256MB";
/// Bytes that are copied in at once.
const PIECE: usize = 1 << 20;

/// Fills a log once; each run rebuilds the directory from it, and copies the rows that it made.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let database = Database::create(&bench.machine, "rebuild").await?;
    let filled = Arc::new(database.open().await?);
    filled.fill(0..bench.plan.events).await?;
    filled.close().await;
    let mut connection = database.connect().await?;
    connection
        .execute("VACUUM ANALYZE log_events, log_streams")
        .await?;
    let place = database.place()?;
    let events = usize::try_from(bench.plan.events)?;
    let (mut pairs, mut slower) = (Vec::new(), "");
    for _ in 0..bench.plan.runs {
        database.quiet().await?;
        let started = Instant::now();
        rebuild(&place, Tables::Directory, &|_| {}).await?;
        let ours = rate(events, started.elapsed());
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM view_customers")
            .fetch_one(&mut connection)
            .await?;
        anyhow::ensure!(
            rows == i64::from(bench.plan.events),
            "{rows} rows were made"
        );
        database.quiet().await?;
        let (out, _) = copy_out(&mut connection, "log_events").await?;
        let (_, rows) = copy_out(&mut connection, "view_customers").await?;
        let into = copy_in(&mut connection, &rows).await?;
        slower = if out > into {
            "COPY out"
        } else {
            "COPY in + index builds"
        };
        pairs.push((ours, rate(events, out.max(into))));
    }
    drop(connection);
    database.drop().await?;
    let note = format!("limit: {slower}");
    report.add(
        Target::rate("rebuild", "events/s", "min(COPY out, COPY in + indexes)").reach(0.5, 0.8),
        &pairs,
        Some(note),
    );
    Ok(())
}

async fn copy_out(
    connection: &mut PgConnection,
    table: &str,
) -> anyhow::Result<(Duration, Vec<u8>)> {
    let sql = format!("COPY {table} TO STDOUT (FORMAT binary)");
    let started = Instant::now();
    let mut bytes = Vec::new();
    let mut pieces = connection.copy_out_raw(&sql).await?;
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((started.elapsed(), bytes))
}

/// The time to copy the rows into a table without indexes and to build those that the customer index has.
async fn copy_in(connection: &mut PgConnection, rows: &[u8]) -> anyhow::Result<Duration> {
    let table = format!("{SCHEMA}.view_customers");
    let make = format!(
        "DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
         CREATE SCHEMA {SCHEMA};
         CREATE TABLE {table} (LIKE view_customers INCLUDING ALL EXCLUDING INDEXES);
         SET maintenance_work_mem = '{INDEX_MEMORY}';
         CHECKPOINT"
    );
    connection.execute(make.as_str()).await?;
    let indexes: Vec<String> = sqlx::query_scalar(
        "SELECT replace(indexdef, ' ON ' || schemaname || '.', $1)
           FROM pg_indexes
          WHERE schemaname = current_schema() AND tablename = 'view_customers'",
    )
    .bind(format!(" ON {SCHEMA}."))
    .fetch_all(&mut *connection)
    .await?;
    let started = Instant::now();
    let mut copy = connection
        .copy_in_raw(&format!("COPY {table} FROM STDIN (FORMAT binary)"))
        .await?;
    for piece in rows.chunks(PIECE) {
        copy.send(piece).await?;
    }
    copy.finish().await?;
    for index in indexes {
        connection.execute(index.as_str()).await?;
    }
    Ok(started.elapsed())
}
