//! A flood of identities that nobody has: rows and memory stay bounded, others are served, and it is told what was held back.

use std::time::Instant;

use roster_tests::client::Client;
use roster_tests::scale::asked;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

/// New identities of a project at once.
const BURST: u64 = 200;
/// And each minute.
const PER_MINUTE: u64 = 60;
/// Identities of one request.
const BATCH: u64 = 500;

fn flood() -> u64 {
    asked("ROSTER_FLOOD", 5_000)
}

/// The sum of a metric over its labels.
fn metric(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

async fn resolve(client: &Client, id: &str) -> Value {
    let sighting = json!({"channel": "line", "external_user_id": id});
    client.ok("identities/resolve", sighting).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_bounded_and_harms_nobody_else() {
    let (burst, per_minute) = (BURST.to_string(), PER_MINUTE.to_string());
    let settings = [
        ("ROSTER_UNMATCHED__BURST", burst.as_str()),
        ("ROSTER_UNMATCHED__PER_MINUTE", per_minute.as_str()),
    ];
    let server = Server::start_with(&settings).await.expect("a server");
    let flooded = Client::of_project(&server, "flooded")
        .await
        .expect("a client");
    let other = Client::of_project(&server, "other")
        .await
        .expect("a client");
    for client in [&flooded, &other] {
        client.upsert("ada", json!({})).await;
        let link =
            json!({"channel": "line", "external_user_id": "U-ada", "customer_user_id": "ada"});
        client.ok("identities/link", link).await;
    }
    let head = flooded.head().await;
    let started = Instant::now();
    let flood = flood();
    for first in (0..flood).step_by(usize::try_from(BATCH).expect("small")) {
        let items: Vec<Value> = (first..(first + BATCH).min(flood))
            .map(|number| json!({"channel": "line", "external_user_id": format!("stranger-{number}")}))
            .collect();
        let answer = flooded
            .ok("identities/resolve-batch", json!({"items": items}))
            .await;
        let outcomes = answer["items"].as_array().expect("items");
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome["result"]["reason"] == "unmatched"),
            "{answer}"
        );
        // In the midst of it both are served.
        for client in [&flooded, &other] {
            assert_eq!(resolve(client, "U-ada").await["matched"], true);
        }
    }
    // Strangers of another project are taken in as ever.
    resolve(&other, "U-stranger").await;
    until("the other project's stranger to be listed", async || {
        (other.ok("unmatched/list", json!({})).await["total"] == 1).then_some(())
    })
    .await;

    let metrics = until("everything to be counted", async || {
        let text = other.get("/metrics").await.text();
        let counted = metric(&text, "roster_unmatched_written_total")
            + metric(&text, "roster_unmatched_held_back_total");
        let remembered = metric(&text, "roster_unmatched_remembered");
        (counted == flood + 1 && remembered > 0).then_some(text)
    })
    .await;
    let admitted = BURST + started.elapsed().as_secs() * PER_MINUTE / 60 + 1;
    let rows = flooded.ok("unmatched/list", json!({})).await["total"]
        .as_u64()
        .expect("a total");
    assert!(
        (1..=admitted).contains(&rows),
        "{rows} of at most {admitted}"
    );
    let remembered = metric(&metrics, "roster_unmatched_remembered");
    assert!(remembered <= admitted + 1, "{remembered} are in memory");
    assert_eq!(
        metric(&metrics, "roster_unmatched_held_back_total"),
        flood - rows
    );
    assert_eq!(flooded.head().await, head, "strangers are no events");
}
