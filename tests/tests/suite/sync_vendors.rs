//! Every vendor through the whole service: a connection is saved, tried, previewed and run over HTTP against the vendor's fake.

use std::collections::BTreeSet;

use roster_fakes::{Fake, Vendor};
use roster_tests::client::{Client, project};
use roster_tests::syncs::{self, connected, count, synced};
use serde_json::{Value, json};

/// People of each vendor.
const PEOPLE: u64 = 30;

/// One fake of each provider.
async fn fakes() -> Vec<Fake> {
    let mut fakes: Vec<Fake> = Vec::new();
    for vendor in Vendor::ALL {
        let fake = Fake::start(*vendor).await;
        if fakes
            .iter()
            .all(|known| known.provider() != fake.provider())
        {
            fake.fill(PEOPLE);
            fakes.push(fake);
        }
    }
    fakes
}

async fn ids(client: &Client) -> BTreeSet<String> {
    let list = client.ok("users/list", json!({"page_size": 100})).await;
    let items = list["items"].as_array().expect("items");
    let id = |item: &Value| item["customer_user_id"].as_str().map(str::to_owned);
    items.iter().filter_map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendor_fills_a_directory_over_http_and_a_second_run_changes_nothing() {
    let fakes = fakes().await;
    let all: Vec<&Fake> = fakes.iter().collect();
    let server = syncs::server(&all, &[]).await.expect("a server");
    let everywhere = Client::of_project(&server, "providers")
        .await
        .expect("a client");
    let listed = everywhere.ok("providers/list", json!({})).await;
    let listed = listed["items"].as_array().expect("items").len();
    assert_eq!(listed, fakes.len() + 1, "and a database, which has no fake");
    for fake in &fakes {
        let client = everywhere.in_scope(project(fake.provider()));
        let id = connected(&client, fake).await;
        let tried = client.ok("connections/test", id.clone()).await;
        assert_eq!(tried["ok"], true, "{}: {tried}", fake.provider());
        let preview = client.ok("connections/preview", id.clone()).await;
        assert_eq!(preview["rows"][0]["action"], "create", "{preview}");
        for created in [PEOPLE, 0] {
            let run = synced(&client, &id, "full").await;
            assert_eq!(
                count(&run, "created"),
                created,
                "{}: {run}",
                fake.provider()
            );
            assert_eq!(count(&run, "updated") + count(&run, "failed"), 0, "{run}");
            // A vendor may send somebody twice where a walk overlaps itself.
            assert!(count(&run, "read") >= PEOPLE, "{run}");
        }
        let mut renamed = id.clone();
        renamed["name"] = json!("another name");
        let renamed = client.ok("connections/upsert", renamed).await;
        assert_eq!(renamed["provider"], fake.provider(), "it cannot change");
        if fake.provider() == "http_json" {
            // A secret that nobody can read must not be sent elsewhere by somebody who does not know it.
            let mut moved = id.clone();
            moved["provider"] = json!(fake.provider());
            moved["config"] = fake.config();
            client.ok("connections/upsert", moved.clone()).await;
            moved["config"]["url"] = json!("https://elsewhere.example.org/people");
            for route in ["connections/upsert", "connections/test"] {
                client
                    .invalid(route, moved.clone(), "body.credentials")
                    .await;
            }
            moved["credentials"] = fake.credentials();
            client.ok("connections/upsert", moved).await;
        }
        let expected: BTreeSet<String> = (1..=PEOPLE).map(|no| fake.id(no)).collect();
        assert_eq!(ids(&client).await, expected, "{}", fake.provider());
    }
}
