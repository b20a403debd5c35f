//! `projector_catch_up`: the directory projection from position 0, against the raw upsert of the rows that it makes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roster_projections::{ProjectionOptions, Projections};
use sqlx::{Executor, PgConnection};

use super::Bench;
use super::copy::{SCHEMA, equal_table};
use super::database::Database;
use super::report::{Report, Target};
use super::stats::{float, rate};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["projector_catch_up"];

/// Rows of one raw upsert, as many as a page of the projection has.
const PAGE: i64 = 5_000;

/// Fills a log once; each run empties the read tables.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let database = Database::create(&bench.machine, "catch_up").await?;
    let filled = Arc::new(database.open().await?);
    filled.fill(0..bench.plan.events).await?;
    let head = filled.cell.head_position().await?;
    filled.close().await;
    let mut connection = database.connect().await?;
    connection
        .execute("VACUUM ANALYZE log_events, log_streams")
        .await?;

    let mut pairs = Vec::new();
    for run in 0..bench.plan.runs {
        empty_views(&mut connection).await?;
        database.quiet().await?;
        let ours = project(&database, head).await?;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM view_customers")
            .fetch_one(&mut connection)
            .await?;
        anyhow::ensure!(
            float(usize::try_from(rows)?) >= f64::from(bench.plan.events),
            "{rows} rows were projected"
        );
        if run == 0 {
            stage(&mut connection).await?;
        }
        connection
            .execute(format!("TRUNCATE {SCHEMA}.view_customers").as_str())
            .await?;
        database.quiet().await?;
        let limit = upsert(&mut connection, rows).await?;
        let rows = usize::try_from(rows)?;
        pairs.push((rate(rows, ours), rate(rows, limit)));
    }
    drop(connection);
    database.drop().await?;
    report.add(
        Target::rate("projector_catch_up", "events/s", "raw upsert").reach(0.4, 0.7),
        &pairs,
        None,
    );
    Ok(())
}

async fn empty_views(connection: &mut PgConnection) -> anyhow::Result<()> {
    let views: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'roster_main' AND tablename LIKE 'view\\_%'")
            .fetch_all(&mut *connection)
            .await?;
    connection
        .execute(format!("TRUNCATE {}", views.join(", ")).as_str())
        .await?;
    connection.execute("DELETE FROM log_checkpoints").await?;
    Ok(())
}

/// The time that the projection takes to reach the head. Search waits meanwhile, as it does behind any large lag.
async fn project(database: &Database, head: i64) -> anyhow::Result<Duration> {
    let open = database.open().await?;
    let started = Instant::now();
    let options = ProjectionOptions {
        owner: "bench".into(),
        ..ProjectionOptions::default()
    };
    let projections =
        Projections::start(open.cell.clone(), options, &open.tracker, open.stop.clone());
    let reached = projections.wait_for(head, Duration::from_hours(1)).await;
    let took = started.elapsed();
    open.close().await;
    anyhow::ensure!(reached, "the projection does not reach the head");
    Ok(took)
}

/// The rows that were projected, in the order in which they were written, and an empty table for them.
async fn stage(connection: &mut PgConnection) -> anyhow::Result<()> {
    connection
        .execute(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}").as_str())
        .await?;
    equal_table(connection, "view_customers").await?;
    let staging = format!(
        "CREATE TABLE {SCHEMA}.staged AS
         SELECT row_number() OVER (ORDER BY position) AS place, v.* FROM view_customers v;
         CREATE UNIQUE INDEX ON {SCHEMA}.staged (place);
         ANALYZE {SCHEMA}.staged"
    );
    connection.execute(staging.as_str()).await?;
    Ok(())
}

/// One statement a page, each its own commit, which need not wait for the disk: the projection's does not either.
async fn upsert(connection: &mut PgConnection, rows: i64) -> anyhow::Result<Duration> {
    let columns = columns(connection, "view_customers").await?;
    let changes: Vec<String> = columns
        .iter()
        .filter(|column| !["project_no", "customer_user_id"].contains(&column.as_str()))
        .map(|column| format!("{column} = EXCLUDED.{column}"))
        .collect();
    let (columns, changes) = (columns.join(", "), changes.join(", "));
    let sql = format!(
        "INSERT INTO {SCHEMA}.view_customers AS v ({columns})
         SELECT {columns} FROM {SCHEMA}.staged WHERE place > $1 AND place <= $2
             ON CONFLICT (project_no, customer_user_id) DO UPDATE SET {changes} WHERE v.position <= EXCLUDED.position"
    );
    connection.execute("SET synchronous_commit = off").await?;
    let started = Instant::now();
    let mut after = 0;
    while after < rows {
        sqlx::query(&sql)
            .bind(after)
            .bind(after + PAGE)
            .execute(&mut *connection)
            .await?;
        after += PAGE;
    }
    let took = started.elapsed();
    connection.execute("RESET synchronous_commit").await?;
    Ok(took)
}

/// The columns of a table in their order.
pub(super) async fn columns(
    connection: &mut PgConnection,
    table: &str,
) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT attname::text FROM pg_attribute
          WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
          ORDER BY attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await?)
}
