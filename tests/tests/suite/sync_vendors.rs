//! Every vendor through the whole service: a connection is saved, tried, previewed and run over HTTP against the vendor's fake.

use std::collections::BTreeSet;
use std::sync::Arc;

use roster_fakes::{Fake, Vendor};
use roster_tests::client::{Client, project};
use roster_tests::database::Database;
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

/// People of each vendor.
const PEOPLE: u64 = 30;

/// One fake of each provider, and the settings under which a server reaches them and nothing else.
async fn fakes() -> (Vec<Fake>, String) {
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
    let of_vendors = fakes
        .iter()
        .filter(|fake| !matches!(fake.provider(), "http_json" | "csv_url"));
    let base_urls: Vec<String> = of_vendors
        .map(|fake| format!("{}={}", fake.provider(), fake.url()))
        .collect();
    (fakes, base_urls.join(","))
}

fn connection(fake: &Fake) -> Value {
    let mapping: Vec<Value> = fake
        .mapping()
        .into_iter()
        .map(|(source, target)| json!({"source": source, "target": target}))
        .collect();
    json!({
        "name": format!("all of {}", fake.provider()),
        "provider": fake.provider(),
        "credentials": fake.credentials(),
        "config": fake.config(),
        "field_mapping": mapping,
        "mode": "full",
    })
}

async fn ended(client: &Client, run_id: &Value) -> Value {
    until("the run ends", async || {
        let run = client.ok("runs/get", json!({"run_id": run_id})).await;
        let is_over = !matches!(run["status"].as_str(), Some("queued" | "running"));
        is_over.then_some(run)
    })
    .await
}

async fn ids(client: &Client) -> BTreeSet<String> {
    let list = client.ok("users/list", json!({"page_size": 100})).await;
    let items = list["items"].as_array().expect("items");
    let id = |item: &Value| item["customer_user_id"].as_str().map(str::to_owned);
    items.iter().filter_map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendor_fills_a_directory_over_http_and_a_second_run_changes_nothing() {
    let (fakes, base_urls) = fakes().await;
    let database = Arc::new(Database::create().await.expect("a database"));
    let settings = [
        ("ROSTER_SYNC__BASE_URLS", base_urls.as_str()),
        ("ROSTER_SYNC__ALLOW", "127.0.0.1"),
        ("ROSTER_SYNC__ALLOW_HTTP", "true"),
    ];
    let server = Server::start_on(database, &settings)
        .await
        .expect("a server");
    let everywhere = Client::of_project(&server, "providers")
        .await
        .expect("a client");
    let listed = everywhere.ok("providers/list", json!({})).await;
    let listed = listed["items"].as_array().expect("items").len();
    assert_eq!(listed, fakes.len() + 1, "and a database, which has no fake");
    for fake in &fakes {
        let client = everywhere.in_scope(project(fake.provider()));
        let schema = with(&[
            field("email", &json!({"type": "email"})),
            field("first_name", &json!({})),
            field("last_name", &json!({})),
        ]);
        client.ok("schema/upsert", schema).await;
        let saved = client.ok("connections/upsert", connection(fake)).await;
        let id = json!({"connection_id": saved["connection_id"]});
        let tried = client.ok("connections/test", id.clone()).await;
        assert_eq!(tried["ok"], true, "{}: {tried}", fake.provider());
        let preview = client.ok("connections/preview", id.clone()).await;
        assert_eq!(preview["rows"][0]["action"], "create", "{preview}");
        for created in [PEOPLE, 0] {
            let started = client.post("connections/sync", id.clone()).await;
            assert_eq!(started.status, 202, "{started}");
            let run = ended(&client, &started.json()["run_id"]).await;
            assert_eq!(run["status"], "succeeded", "{}: {run}", fake.provider());
            let count = |name: &str| run["counts"][name].as_u64().expect("a count");
            assert_eq!(count("created"), created, "{}: {run}", fake.provider());
            assert_eq!(count("updated") + count("failed"), 0, "{run}");
            // A vendor may send somebody twice where a walk overlaps itself.
            assert!(count("read") >= PEOPLE, "{run}");
            assert_eq!(count("read"), created + count("unchanged"), "{run}");
        }
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
