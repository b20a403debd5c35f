//! Imports of servers that are killed, stopped and cancelled: every row is applied once, whatever happens.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Body;
use roster_store::verify;
use roster_tests::bench::people;
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::imports::{finished, started};
use roster_tests::scale::asked;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// The pause after each chunk, so that the moments of this file lie between chunks and within them.
const PAUSE: Duration = Duration::from_millis(200);
/// Kills of one import.
const KILLS: u32 = 5;

fn rows() -> u32 {
    asked("ROSTER_CRASH_ROWS", 20_000)
}

async fn start() -> (Server, Client, PgConnection) {
    let pause = PAUSE.as_millis().to_string();
    let server = Server::start_with(&[("ROSTER_IMPORT__CHUNK_PAUSE_MS", &pause)])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client
        .ok("schema/upsert", json!({"schema": people::definition()}))
        .await;
    let connection = server.database().superuser().await.expect("a connection");
    (server, client, connection)
}

/// Sends a file of these people piece by piece; the id of its import.
async fn send(client: &Client, rows: u32) -> Value {
    let pieces = stream::iter(people::csv(0..rows, 0).map(Ok::<_, std::io::Error>));
    let answer = client.import("", Body::wrap_stream(pieces)).await;
    started(&answer)
}

async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .expect("a number")
}

/// Customers in the log, read models aside.
async fn written(connection: &mut PgConnection) -> i64 {
    number(
        connection,
        "SELECT count(*) FROM log_streams WHERE kind = 1",
    )
    .await
}

/// The log is whole, and every person of the file is one customer with one event, one row and their claims.
async fn assert_whole(database: &Database, connection: &mut PgConnection, rows: u32) {
    let rows = i64::from(rows);
    let whole = "SELECT (SELECT count(*) FROM log_events) - (SELECT max(position) FROM log_events)";
    assert_eq!(number(connection, whole).await, 0, "positions have a gap");
    for (what, sql) in [
        (
            "streams of customers",
            "SELECT count(*) FROM log_streams WHERE kind = 1",
        ),
        (
            "those with exactly one event",
            "SELECT count(*) FROM log_streams WHERE kind = 1 AND version = 1",
        ),
        (
            "their events",
            "SELECT count(*) FROM log_events JOIN log_streams USING (stream_id) WHERE kind = 1",
        ),
        (
            "claims on ids",
            "SELECT count(*) FROM log_claims WHERE kind = 1",
        ),
        (
            "claims on addresses",
            "SELECT count(*) FROM log_claims WHERE kind = 2",
        ),
        ("rows", "SELECT count(*) FROM view_customers"),
        (
            "their ids",
            "SELECT count(DISTINCT customer_user_id) FROM view_customers",
        ),
        (
            "counted rows",
            "SELECT sum(count)::bigint FROM view_data_sources",
        ),
    ] {
        assert_eq!(number(connection, sql).await, rows, "{what}");
    }
    for (what, sql) in [
        ("staged pieces", "SELECT count(*) FROM job_chunks"),
        (
            "claims of open jobs",
            "SELECT count(*) FROM log_claims WHERE kind = 4",
        ),
    ] {
        assert_eq!(number(connection, sql).await, 0, "{what} are left");
    }
    let fresh = database.cell().await.expect("a cell");
    let report = verify::verify(&fresh.cell, |_, _| ())
        .await
        .expect("a report");
    assert_eq!(report.findings, []);
    fresh.close().await;
}

fn assert_counts(result: &Value, status: &str, total: i64) {
    let expected = json!({"status": status, "total": total, "created": total, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&result[name], value, "{name}: {result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_a_server_that_is_killed_five_times_finishes_by_itself() {
    let rows = rows();
    let (mut server, client, mut connection) = start().await;
    let import = send(&client, rows).await;
    let seed: u64 = rand::random();
    eprintln!("kills by the seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut thresholds: Vec<i64> = (0..KILLS)
        .map(|_| random.random_range(0..i64::from(rows) * 9 / 10))
        .collect();
    thresholds.sort_unstable();
    for (kill, threshold) in (1..).zip(thresholds) {
        until("rows", async || {
            (written(&mut connection).await >= threshold).then_some(())
        })
        .await;
        // Chunks are large: without it every kill would hit the same place of one.
        tokio::time::sleep(PAUSE.mul_f64(random.random_range(0.0..2.0))).await;
        server.kill().expect("it was running");
        eprintln!(
            "kill {kill}: {} of {rows} rows are written",
            written(&mut connection).await
        );
        server.restart().await.expect("it starts");
        if kill < KILLS {
            // What a killed worker leaves lasts half a minute; only the last one is waited for.
            sqlx::query("UPDATE job_leases SET leased_till = 'epoch'")
                .execute(&mut connection)
                .await
                .expect("a change");
        }
    }
    let client = client.at(&server);
    let result = finished(&client, &import).await;
    assert_counts(&result, "completed", rows.into());
    assert_eq!(result["progress_pct"], 100);
    assert_whole(server.database(), &mut connection, rows).await;
    let last = json!({"page_size": 1, "search": people::email(rows - 1)});
    let found = until("the search to follow", async || {
        client.ids(last.clone()).await.into_iter().next()
    });
    assert_eq!(found.await, people::id(rows - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_the_upload_leaves_nothing_behind() {
    let (mut server, client, mut connection) = start().await;
    let before = number(&mut connection, "SELECT count(*) FROM log_events").await;
    let pieces = stream::iter(people::csv(0..20_000, 0).map(Ok::<_, std::io::Error>))
        .chain(stream::pending());
    let staging = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'idle in transaction' AND query LIKE '%job_chunks%'";
    tokio::select! {
        answer = client.import("", Body::wrap_stream(pieces)) => panic!("an endless file was answered: {answer}"),
        () = until("a staged piece", async || (number(&mut connection, staging).await > 0).then_some(())) => {
            server.kill().expect("it was running");
        }
    }
    server.restart().await.expect("it starts");
    let left = "SELECT (SELECT count(*) FROM job_chunks) + (SELECT count(*) FROM job_leases)
                     + (SELECT count(*) FROM log_idempotency) + (SELECT count(*) FROM log_streams WHERE kind IN (1, 4))";
    assert_eq!(number(&mut connection, left).await, 0);
    assert_eq!(
        number(&mut connection, "SELECT count(*) FROM log_events").await,
        before
    );
    let client = client.at(&server);
    assert_eq!(client.ok("users/imports/list", json!({})).await["total"], 0);
    let result = finished(&client, &send(&client, 100).await).await;
    assert_counts(&result, "completed", 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_during_the_upload_leaves_nothing_behind() {
    let (_server, client, mut connection) = start().await;
    let pieces = stream::iter(people::csv(0..20_000, 0).map(Ok::<_, std::io::Error>))
        .chain(stream::pending());
    let staging = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'idle in transaction' AND query LIKE '%job_chunks%'";
    tokio::select! {
        answer = client.import("", Body::wrap_stream(pieces)) => panic!("an endless file was answered: {answer}"),
        () = until("a staged piece", async || (number(&mut connection, staging).await > 0).then_some(())) => {}
    }
    until("the end of the transaction", async || {
        (number(&mut connection, staging).await == 0).then_some(())
    })
    .await;
    let left = "SELECT (SELECT count(*) FROM job_chunks) + (SELECT count(*) FROM log_streams WHERE kind IN (1, 4))";
    assert_eq!(number(&mut connection, left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_cancelled_keeps_what_is_applied_and_stops() {
    let (mut server, client, mut connection) = start().await;
    let rows = 20_000;
    let import = send(&client, rows).await;
    until("rows", async || {
        (written(&mut connection).await > 0).then_some(())
    })
    .await;
    client.ok("users/imports/cancel", import.clone()).await;
    let result = finished(&client, &import).await;
    let total = written(&mut connection).await;
    assert!(total < rows.into(), "it was over before it was cancelled");
    assert_counts(&result, "cancelled", total);
    assert!(
        result["progress_pct"]
            .as_i64()
            .is_some_and(|progress| progress < 100),
        "{result}"
    );
    let listed = client.ok("users/data-sources/list", json!({})).await;
    assert_eq!(listed["total_customers"], total);
    let again = client.post("users/imports/cancel", import.clone()).await;
    assert!(
        (200..300).contains(&again.status),
        "a repeated cancel is harmless: {again}"
    );

    server.restart().await.expect("it starts");
    let client = client.at(&server);
    assert_counts(&finished(&client, &import).await, "cancelled", total);
    assert_whole(
        server.database(),
        &mut connection,
        u32::try_from(total).expect("a few"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_a_server_that_is_stopped_goes_on_at_the_next_start() {
    let (mut server, client, mut connection) = start().await;
    let rows = 20_000;
    let import = send(&client, rows).await;
    until("rows", async || {
        (written(&mut connection).await > 0).then_some(())
    })
    .await;
    assert!(server.stop().await.expect("it stops").success());
    let half = written(&mut connection).await;
    assert!(
        half > 0 && half < rows.into(),
        "{half} rows were written before the stop"
    );
    assert_eq!(
        number(&mut connection, "SELECT count(*) FROM job_leases").await,
        0,
        "the job is free at once"
    );
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    assert_counts(&finished(&client, &import).await, "completed", rows.into());
    assert_whole(server.database(), &mut connection, rows).await;
}
