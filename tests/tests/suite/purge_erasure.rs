//! People who were purged are nowhere, and neither is what they were sought by.

use std::sync::Arc;
use std::time::Duration;

use roster_commands::clock::{Clock, FixedClock, SystemClock, SystemIds};
use roster_commands::{Directory, JobOptions, Jobs, Limits};
use roster_domain::purge::{Purge, PurgeStatus};
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::dump::Dump;
use roster_tests::node::Node;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Id, name and address of those who are named.
const NAMED: [[&str; 3]; 2] = [
    [
        "named-planted-Ünï-0001",
        "Érika Pürged-Žáková",
        "erika.purged@example-named.org",
    ],
    [
        "named-planted-0002",
        "Bülk O’Pürged-Śmith",
        "bulk.purged@example-named.org",
    ],
];
/// Id, name and address of those who are found by a filter.
const FOUND: [[&str; 3]; 2] = [
    [
        "found-planted-0003",
        "Gefundené Planted",
        "first.found@example-sought.org",
    ],
    [
        "found-planted-0004",
        "Zweité Gefundené",
        "second.found@example-sought.org",
    ],
];
/// An id that nobody has.
const NOBODY: &str = "nobody-planted-0005";
/// What the filter looks for, beside an address.
const SOUGHT: &str = "GefundenÉ";

fn planted() -> impl Iterator<Item = &'static str> {
    NAMED
        .into_iter()
        .chain(FOUND)
        .flatten()
        .chain([NOBODY, SOUGHT, "example-sought"])
}

async fn plant(client: &Client) {
    for [id, name, email] in NAMED.into_iter().chain(FOUND) {
        client
            .upsert(id, json!({"full_name": name, "email": email}))
            .await;
    }
    // A failed row about one of them waits in the findings of an import.
    let csv = format!(
        "customer_user_id,full_name,enabled\n{},{},maybe\n",
        FOUND[0][0], FOUND[0][1]
    );
    let result = client.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(result["failed"], 1, "{result}");
}

fn found(dump: &Dump) -> Vec<(&'static str, Vec<String>)> {
    planted()
        .map(|value| (value, dump.forms_of(value)))
        .filter(|(_, forms)| !forms.is_empty())
        .collect()
}

/// Waits until no list is staged, which is tidied after a purge ended.
async fn unstaged(connection: &mut PgConnection) {
    until("the lists are gone", async || {
        let staged: i64 = sqlx::query_scalar("SELECT count(*) FROM job_chunks")
            .fetch_one(&mut *connection)
            .await
            .expect("a count");
        (staged == 0).then_some(())
    })
    .await;
}

async fn start_purges(client: &Client) -> [Value; 2] {
    let named = json!({"customer_user_ids": [NAMED[0][0], NAMED[1][0], NOBODY]});
    let named = client.ok("users/delete-bulk", named).await;
    let sought = json!({"search": SOUGHT, "data_source_kind": "manual"});
    let sought = client.ok("users/delete-by-filter", sought).await;
    assert_eq!((&named["total"], &sought["total"]), (&json!(3), &json!(2)));
    [named["purge_id"].clone(), sought["purge_id"].clone()]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_purged_person_is_left_in_any_form() {
    let server = Server::start_with(&[("ROSTER_LOG__LEVEL", "debug")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    plant(&client).await;
    let before = Dump::take(server.database()).await.expect("a dump");
    assert!(found(&before).len() > 6, "what is listed is in the dump");

    for purge_id in start_purges(&client).await {
        let purge = client.purge_ended(&purge_id).await;
        assert_eq!(
            (&purge["status"], &purge["stats"]["deleted"]),
            (&json!("completed"), &json!(2)),
            "{purge}"
        );
    }
    let mut connection = server.database().superuser().await.expect("a connection");
    unstaged(&mut connection).await;
    let head = client.head().await;
    let listed = client.list_at(json!({"search": "planted"}), head).await;
    assert_eq!(listed["total"], 0);

    let after = Dump::take(server.database()).await.expect("a dump");
    assert_eq!(found(&after), [], "a dump has values of purged people");
    let log = Dump::of(server.log());
    assert_eq!(
        found(&log),
        [],
        "the server's log has values of purged people"
    );
    let statistics = Dump::of_statistics(&mut connection)
        .await
        .expect("statistics");
    assert_eq!(
        found(&statistics),
        [],
        "pg_stats has values of purged people"
    );
    for (what, count, expected) in [
        (
            "closed streams without key and state",
            "SELECT count(*) FROM log_streams WHERE kind = 1 AND flags & 1 = 1 AND key IS NULL AND state IS NULL",
            4,
        ),
        (
            "claims on ids and open jobs",
            "SELECT count(*) FROM log_claims WHERE kind IN (1, 2, 4)",
            0,
        ),
    ] {
        let counted: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut connection)
            .await
            .expect("a count");
        assert_eq!(counted, expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_a_purge_is_sealed_while_it_goes_on_and_gone_after_it() {
    // Nobody is erased before the dump is taken: a killed server's purge waits for the next start.
    let mut server = Server::start_with(&[]).await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    let nobody = json!({"customer_user_ids": [NOBODY, SOUGHT]});
    server.set("ROSTER_PURGE__CHUNK_PAUSE_MS", "600000");
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    let many: Vec<String> = (0..100)
        .map(|number| format!("{NOBODY}-{number}"))
        .collect();
    let long = client
        .ok("users/delete-bulk", json!({"customer_user_ids": many}))
        .await;
    let mut connection = server.database().superuser().await.expect("a connection");
    until("the first chunk", async || {
        let purge = client
            .ok("users/purge/get", json!({"purge_id": long["purge_id"]}))
            .await;
        (purge["status"] == "running").then_some(())
    })
    .await;
    let staged: i64 = sqlx::query_scalar("SELECT count(*) FROM job_chunks")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(staged, 2, "what was sought, and whom it is of");
    let dump = Dump::take(server.database()).await.expect("a dump");
    assert_eq!(dump.forms_of(NOBODY), Vec::<String>::new());

    server.set("ROSTER_PURGE__CHUNK_PAUSE_MS", "0");
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    client.purge_ended(&long["purge_id"]).await;
    let short = client.ok("users/delete-bulk", nobody).await;
    client.purge_ended(&short["purge_id"]).await;
    unstaged(&mut connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_days_after_its_end_the_key_of_a_purge_is_destroyed() {
    let database = Database::create().await.expect("a database");
    let node = database.cell().await.expect("a cell");
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let limits = Limits::default();
    let directory = Directory::new(
        node.cell.clone(),
        clock.clone(),
        Arc::new(SystemIds),
        limits,
    );
    let options = JobOptions {
        poll: Duration::from_millis(50),
        sweep: Duration::from_millis(50),
        ..JobOptions::default()
    };
    let (tracker, stop) = (node.tracker.clone(), node.stop.clone());
    Jobs::start(directory.clone(), options, tracker, stop);
    let context = Node::context("p");
    let started = directory
        .purge_customers(&context, &[NOBODY.to_owned()])
        .await
        .expect("a purge");
    let purge_id = started.value.purge_id;
    let project = node
        .cell
        .project(&context.scope)
        .await
        .expect("a look-up")
        .expect("the project");
    let load = async || {
        let purge = node.cell.load_fresh::<Purge>(&project, purge_id).await;
        purge.expect("it loads")
    };
    until("the end", async || {
        let leased: Option<bool> = sqlx::query_scalar(
            "SELECT leased_till > clock_timestamp() + interval '29 days' FROM job_leases",
        )
        .fetch_optional(node.cell.pool())
        .await
        .expect("an answer");
        (leased == Some(true)).then_some(())
    })
    .await;
    let ended = load().await;
    assert_eq!(ended.state.status, PurgeStatus::Completed);
    assert!(
        ended.data_key().is_some(),
        "whom it failed on can still be read"
    );
    clock.advance(31 * 86_400);
    until("the sweep", async || {
        let expired = load().await;
        (expired.state.is_expired && expired.data_key().is_none()).then_some(())
    })
    .await;
    node.close().await;
}
