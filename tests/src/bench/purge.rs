//! `purge`: 5,000 customers by filter until lists and searches are without them, against one DELETE of the same rows.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor, PgConnection};

use super::Bench;
use super::copy::{SCHEMA, equal_table};
use super::http::Connection;
use super::import::{Directory, ask, filled};
use super::people;
use super::report::{Report, Target};
use super::stats::millis;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["purge"];

/// Customers of one purge.
const PURGED: u32 = 5_000;
/// What a customer is in: each of these has a row, or some.
const TABLES: [&str; 3] = ["view_customers", "view_customer_search", "log_claims"];
/// How long one purge may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often is asked whether it is over.
const LOOK: Duration = Duration::from_millis(2);

/// How long a purge took, from the request on.
struct Took {
    /// Until it was accepted.
    accepted: Duration,
    /// Until it reads as completed, with which the list is without its customers.
    listed: Duration,
    /// Until the search is without them too.
    gone: Duration,
}

/// Fills a directory once; each run purges its next 5,000 customers, and deletes the same rows from a copy of the tables.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let runs = u32::try_from(bench.plan.runs)?;
    let customers = bench.plan.customers.max(PURGED * (runs + 1));
    let directory = filled(bench, "purge", customers).await?;
    let mut connection = directory.database.connect().await?;
    let mut pairs = Vec::new();
    let mut note = String::new();
    for turn in 0..runs {
        stage(&mut connection).await?;
        directory.database.quiet().await?;
        let ours = purge(&directory, (turn + 1) * PURGED - 1).await?;
        directory.server.caught_up().await?;
        directory.database.quiet().await?;
        let limit = delete(&mut connection).await?;
        pairs.push((millis(ours.gone), millis(limit)));
        note = format!(
            "{PURGED} of {customers} customers; accepted after {:.0} ms, gone from the list after {:.0} ms, from the search after \
             {:.0} ms",
            millis(ours.accepted),
            millis(ours.listed),
            millis(ours.gone)
        );
    }
    drop(connection);
    directory.close().await?;
    report.add(
        Target::time("purge", "one DELETE").reach(3.0, 1.5),
        &pairs,
        Some(note),
    );
    Ok(())
}

/// Purges the first customers by id, the last of whom has this number.
async fn purge(directory: &Directory, last: u32) -> anyhow::Result<Took> {
    let target = &directory.server.target;
    let mut connection = Connection::open(target.address).await?;
    let filter = json!({"data_source_kind": "csv", "limit": PURGED});
    let search = target.request(
        "users/list",
        &json!({"search": people::email(last), "page_size": 1}),
    );
    let found = ask(&mut connection, &search).await?["total"].clone();
    anyhow::ensure!(found == json!(1), "{found} customers are found before");

    let started = Instant::now();
    let request = target.request("users/delete-by-filter", &filter);
    let answer = ask(&mut connection, &request)
        .await
        .context("users/delete-by-filter")?;
    let accepted = started.elapsed();
    anyhow::ensure!(
        answer["total"] == json!(PURGED),
        "it is another purge: {answer}"
    );
    let progress = json!({"purge_id": answer["purge_id"]});
    let progress = target.request("users/purge/get", &progress);
    let ended = wait(&mut connection, &progress, |purge| {
        !purge["finished_at"].is_null()
    })
    .await?;
    let listed = started.elapsed();
    anyhow::ensure!(
        ended["stats"]["deleted"] == json!(PURGED),
        "the purge ended otherwise: {ended}"
    );
    let head = target.get("/readyz").await?["head"].as_i64();
    let nobody = json!({"search": people::email(last), "page_size": 1});
    let nobody = target.request_at("users/list", &nobody, head.context("no head")?);
    let left = ask(&mut connection, &nobody).await?["total"].clone();
    let gone = started.elapsed();
    anyhow::ensure!(left == json!(0), "{left} customers are found after");
    Ok(Took {
        accepted,
        listed,
        gone,
    })
}

/// Asks until the answer is the one.
async fn wait(
    connection: &mut Connection,
    request: &[u8],
    is_it: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let answer = ask(connection, request).await?;
        if is_it(&answer) {
            return Ok(answer);
        }
        anyhow::ensure!(
            Instant::now() < patience,
            "the purge does not end: {answer}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Equal tables with the rows of everybody, and which of them are to be deleted.
async fn stage(connection: &mut PgConnection) -> anyhow::Result<()> {
    connection
        .execute(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}").as_str())
        .await?;
    for table in TABLES {
        equal_table(connection, table).await?;
        let fill = format!("INSERT INTO {SCHEMA}.{table} SELECT * FROM {table}");
        connection.execute(fill.as_str()).await?;
    }
    let chosen = format!(
        "CREATE TABLE {SCHEMA}.gone AS
         SELECT stream_id FROM view_customers WHERE source_kind = 1 ORDER BY customer_user_id LIMIT {PURGED};
         CREATE TABLE {SCHEMA}.gone_claims AS
         SELECT c.project_no, c.kind, c.key FROM log_claims c JOIN {SCHEMA}.gone g USING (stream_id)"
    );
    connection.execute(chosen.as_str()).await?;
    connection.execute("VACUUM ANALYZE").await?;
    Ok(())
}

/// Deletes the chosen rows in one transaction that is on the disk at its end.
async fn delete(connection: &mut PgConnection) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut transaction = connection.begin().await?;
    let mut deleted = 0;
    for table in &TABLES[..2] {
        let sql = format!(
            "DELETE FROM {SCHEMA}.{table} v USING {SCHEMA}.gone g WHERE v.stream_id = g.stream_id"
        );
        deleted += sqlx::query(&sql)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    }
    let sql = format!(
        "DELETE FROM {SCHEMA}.log_claims c
          USING {SCHEMA}.gone_claims g
          WHERE c.project_no = g.project_no AND c.kind = g.kind AND c.key = g.key"
    );
    sqlx::query(&sql).execute(&mut *transaction).await?;
    transaction.commit().await?;
    let took = started.elapsed();
    anyhow::ensure!(
        deleted == u64::from(2 * PURGED),
        "{deleted} rows were deleted"
    );
    Ok(took)
}
