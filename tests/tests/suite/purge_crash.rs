//! A purge of a server that is killed on the way: exactly those who matched are gone, and each is counted once.

use std::time::Duration;

use futures::stream;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Body;
use roster_store::verify;
use roster_tests::bench::people;
use roster_tests::client::Client;
use roster_tests::imports::import_stream;
use roster_tests::scale::asked;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// The pause after each chunk, so that kills lie between chunks and within them.
const PAUSE: Duration = Duration::from_millis(400);
/// The thousandths of the purge after which the server is killed.
const KILLS: [i64; 3] = [1, 150, 300];

/// The provider of those who are purged.
const GOING: &str = "going";

fn rows() -> u32 {
    asked("ROSTER_CRASH_ROWS", 2_000)
}

async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .expect("a number")
}

/// Customers who are erased in the log, read models aside.
async fn erased(connection: &mut PgConnection) -> i64 {
    number(
        connection,
        "SELECT count(*) FROM log_streams WHERE kind = 1 AND flags & 1 = 1",
    )
    .await
}

async fn import(client: &Client, provider: &str, numbers: std::ops::Range<u32>) {
    let pieces = stream::iter(people::csv(numbers, 0).map(Ok::<_, std::io::Error>));
    let result = import_stream(
        client,
        &format!("provider={provider}"),
        Body::wrap_stream(pieces),
    )
    .await;
    assert_eq!(result["status"], "completed", "{result}");
}

/// Follows a purge, whose progress never falls.
struct Watch {
    purge: Value,
    progress: i64,
}

impl Watch {
    async fn look(&mut self, client: &Client) {
        let answer = client.post("users/purge/get", self.purge.clone()).await;
        // After a kill reads are behind for a while.
        if answer.status == 404 {
            return;
        }
        let progress = answer.ok()["progress_pct"].as_i64().expect("a number");
        assert!(
            progress >= self.progress,
            "{} fell to {progress}",
            self.progress
        );
        self.progress = progress;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_a_server_that_is_killed_three_times_erases_everybody_once() {
    let rows = rows();
    let purged = (rows / 4).min(5_000);
    let pause = PAUSE.as_millis().to_string();
    let mut server = Server::start_with(&[("ROSTER_PURGE__CHUNK_PAUSE_MS", &pause)])
        .await
        .expect("a server");
    let mut client = Client::of_project(&server, "p").await.expect("a client");
    client
        .ok("schema/upsert", json!({"schema": people::definition()}))
        .await;
    let mut connection = server.database().superuser().await.expect("a connection");
    import(&client, GOING, 0..purged).await;
    import(&client, "staying", purged..rows).await;

    let filter = json!({"data_source_provider": GOING, "expected_total": purged});
    let answer = client.post("users/delete-by-filter", filter).await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.ok()["total"], purged);
    let purge_id = answer.ok()["purge_id"].clone();
    let mut watch = Watch {
        purge: json!({"purge_id": purge_id}),
        progress: 0,
    };

    let seed: u64 = rand::random();
    eprintln!("kills by the seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (kill, share) in (1..).zip(KILLS) {
        let threshold = (i64::from(purged) * share / 1_000).max(1);
        until("erasures", async || {
            watch.look(&client).await;
            (erased(&mut connection).await >= threshold).then_some(())
        })
        .await;
        if kill == 1 {
            come_later(&client, purged).await;
        }
        // Without it every kill would hit the same place of a chunk.
        tokio::time::sleep(PAUSE.mul_f64(random.random_range(0.0..1.0))).await;
        server.kill().expect("it was running");
        let gone = erased(&mut connection).await;
        eprintln!("kill {kill}: {gone} of {purged} are gone");
        server.restart().await.expect("it starts");
        client = client.at(&server);
        // What a killed worker leaves lasts half a minute.
        sqlx::query("UPDATE job_leases SET leased_till = 'epoch'")
            .execute(&mut connection)
            .await
            .expect("a change");
    }
    until("the end of the purge", async || {
        watch.look(&client).await;
        (watch.progress == 100).then_some(())
    })
    .await;
    let ended = client.purge_ended(&purge_id).await;
    let stats = json!({
        "total": purged, "deleted": purged - 1, "not_found": 1, "failed": 0, "remaining": 0,
    });
    assert_eq!(
        (&ended["status"], &ended["stats"]),
        (&json!("completed"), &stats)
    );
    assert_whole(&server, &client, &mut connection, rows, purged).await;
}

/// Customers who match after the start: a new one, and one who comes back under an id that is still to be purged. Then
/// the one who was frozen under that id is not found.
async fn come_later(client: &Client, purged: u32) {
    let last = people::id(purged - 1);
    client
        .ok("users/delete", json!({"customer_user_id": last}))
        .await;
    let profile = |name: &str| json!({"full_name": name, "email": format!("{name}@example.org")});
    for (id, name) in [(last.as_str(), "returned"), ("later", "later")] {
        let members = json!({
            "customer_user_id": id, "profile": profile(name),
            "data_source": {"kind": "csv", "provider": GOING},
        });
        assert_eq!(client.ok("users/upsert", members).await["created"], true);
    }
}

/// Exactly those who matched are gone, and the log says so without a gap.
async fn assert_whole(
    server: &Server,
    client: &Client,
    connection: &mut PgConnection,
    rows: u32,
    purged: u32,
) {
    let (rows, purged) = (i64::from(rows), i64::from(purged));
    let going = client
        .ok("users/list", json!({"data_source_provider": GOING}))
        .await;
    let mut stayed = roster_tests::client::ids(&going);
    stayed.sort_unstable();
    let last = people::id(u32::try_from(purged).expect("a few") - 1);
    assert_eq!(stayed, [last, "later".to_owned()], "later matches stay");
    for (what, expected, sql) in [
        (
            "positions have a gap",
            0,
            "SELECT (SELECT count(*) FROM log_events) - (SELECT max(position) FROM log_events)",
        ),
        (
            "erasures",
            purged,
            "SELECT count(*) FROM log_events WHERE type_no = 4",
        ),
        (
            "erased streams",
            purged,
            "SELECT count(DISTINCT stream_id) FROM log_events WHERE type_no = 4",
        ),
        (
            "closed streams without a key",
            purged,
            "SELECT count(*) FROM log_streams WHERE kind = 1 AND flags & 1 = 1 AND key IS NULL AND state IS NULL",
        ),
        (
            "customers who stay",
            rows - purged + 2,
            "SELECT count(*) FROM log_streams WHERE kind = 1 AND flags & 1 = 0",
        ),
        (
            "claims on ids",
            rows - purged + 2,
            "SELECT count(*) FROM log_claims WHERE kind = 1",
        ),
        (
            "rows",
            rows - purged + 2,
            "SELECT count(*) FROM view_customers",
        ),
        (
            "counted rows",
            rows - purged + 2,
            "SELECT sum(count)::bigint FROM view_data_sources",
        ),
        (
            "claims of open jobs",
            0,
            "SELECT count(*) FROM log_claims WHERE kind = 4",
        ),
    ] {
        assert_eq!(number(connection, sql).await, expected, "{what}");
    }
    // The list is deleted when the purge has ended.
    until("no staged list", async || {
        let staged = number(connection, "SELECT count(*) FROM job_chunks").await;
        (staged == 0).then_some(())
    })
    .await;
    let gone = people::email(0);
    until("the search to follow", async || {
        let found = client.ids(json!({"search": gone})).await;
        found.is_empty().then_some(())
    })
    .await;
    let fresh = server.database().cell().await.expect("a cell");
    let report = verify::verify(&fresh.cell, |_, _| ())
        .await
        .expect("a report");
    assert_eq!(report.findings, []);
    fresh.close().await;
}
