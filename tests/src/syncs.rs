//! Syncs over HTTP from fake vendors: a server that reaches them, a connection to each, runs to their end, and what a directory
//! then holds against what the vendor holds.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anyhow::Context;
use roster_fakes::Fake;
use serde_json::{Value, json};

use crate::client::Client;
use crate::database::Database;
use crate::schema::{field, with};
use crate::server::Server;
use crate::until::until;

/// Customers by id, each with e-mail address, first and last name.
pub type People = BTreeMap<String, [String; 3]>;

/// A server on a database of its own that reaches these fakes, and nothing else.
pub async fn server(fakes: &[&Fake], more: &[(&str, &str)]) -> anyhow::Result<Server> {
    server_with(&base_urls(fakes), more).await
}

/// The same where something stands between server and fake: `provider=url`, with commas between them.
pub async fn server_with(base_urls: &str, more: &[(&str, &str)]) -> anyhow::Result<Server> {
    let own = [
        ("ROSTER_SYNC__BASE_URLS", base_urls),
        ("ROSTER_SYNC__ALLOW", "127.0.0.1"),
        ("ROSTER_SYNC__ALLOW_HTTP", "true"),
    ];
    let settings = [&own, more].concat();
    Server::start_on(Arc::new(Database::create().await?), &settings).await
}

/// Where the vendors among these fakes are; a list or a file is where its connection says.
pub fn base_urls(fakes: &[&Fake]) -> String {
    let vendors = fakes
        .iter()
        .filter(|fake| !matches!(fake.provider(), "http_json" | "csv_url"));
    let pairs = vendors.map(|fake| format!("{}={}", fake.provider(), fake.url()));
    pairs.collect::<Vec<_>>().join(",")
}

/// A schema with the fields of every fake's people.
pub fn schema() -> Value {
    with(&[
        field("email", &json!({"type": "email"})),
        field("first_name", &json!({})),
        field("last_name", &json!({})),
    ])
}

/// A connection to a fake, as `connections/upsert` takes it; its runs are full.
pub fn connection(fake: &Fake) -> Value {
    let mapping = fake.mapping().into_iter();
    let mapping: Vec<Value> = mapping
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

/// Saves schema and connection; `{connection_id}`.
pub async fn connected(client: &Client, fake: &Fake) -> Value {
    client.ok("schema/upsert", schema()).await;
    let saved = client.ok("connections/upsert", connection(fake)).await;
    json!({"connection_id": saved["connection_id"]})
}

/// Starts a run; its id.
pub async fn started(client: &Client, connection: &Value, mode: &str) -> Value {
    let mut members = connection.clone();
    members["mode"] = json!(mode);
    let started = client.post("connections/sync", members).await;
    assert_eq!(started.status, 202, "{started}");
    started.json()["run_id"].clone()
}

/// Waits for the end of a run, whose counts add up.
pub async fn ended(client: &Client, run_id: &Value) -> Value {
    let run = until("the run ends", async || {
        let run = client.ok("runs/get", json!({"run_id": run_id})).await;
        let is_over = !matches!(
            run["status"].as_str(),
            Some("queued" | "running" | "interrupted")
        );
        is_over.then_some(run)
    })
    .await;
    let parts = ["created", "updated", "unchanged", "skipped", "failed"];
    let sum: u64 = parts.iter().map(|name| count(&run, name)).sum();
    assert_eq!(sum, count(&run, "read"), "{run}");
    run
}

/// A run from its start to its good end.
pub async fn synced(client: &Client, connection: &Value, mode: &str) -> Value {
    let run = ended(client, &started(client, connection, mode).await).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["mode"], mode, "{run}");
    run
}

/// One of the counts of a run.
pub fn count(run: &Value, name: &str) -> u64 {
    run["counts"][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name}: {run}"))
}

/// Every customer of the client's project, as the server exports them.
pub async fn held(client: &Client) -> People {
    let answer = client.post("users/export-csv", json!({})).await;
    assert_eq!(answer.status, 200, "{answer}");
    let mut lines = csv::Reader::from_reader(answer.body.as_slice());
    let names = lines.headers().expect("a header").clone();
    let place = |name: &str| {
        let place = names.iter().position(|known| known == name);
        place.unwrap_or_else(|| panic!("no column {name}: {names:?}"))
    };
    let places = ["email", "first_name", "last_name"].map(place);
    let id = place("customer_user_id");
    let lines = lines.records().map(|line| line.expect("a line"));
    lines
        .map(|line| (line[id].to_owned(), places.map(|at| line[at].to_owned())))
        .collect()
}

/// Everybody whom a fake has.
pub fn there(fake: &Fake) -> People {
    fake.world(|world| {
        let people = world.present();
        people
            .map(|person| {
                let values = [&person.email, &person.first, &person.last];
                (fake.id(person.no), values.map(String::clone))
            })
            .collect()
    })
}

/// Holds two sets of people against each other, record by record.
///
/// # Panics
/// Where they differ; some of the differences are named.
pub fn assert_same(held: &People, there: &People) {
    let all: std::collections::BTreeSet<&String> = held.keys().chain(there.keys()).collect();
    let differ = all.into_iter().filter(|id| held.get(*id) != there.get(*id));
    let differ: Vec<String> = differ
        .map(|id| {
            format!(
                "{id}: {:?}, at the source {:?}",
                held.get(id),
                there.get(id)
            )
        })
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {} differ: {:#?}",
        differ.len(),
        there.len(),
        &differ[..differ.len().min(5)]
    );
}

/// The most memory that a server ever had, in MiB.
pub fn peak_memory(server: &Server) -> anyhow::Result<u64> {
    let process = server.process_id().context("the server does not run")?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes.context("no VmHWM")?.parse()?;
    Ok(kilobytes / 1024)
}
