//! A server that is killed has lost no dispatch that it answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roster_tests::bench::http::Connection;
use roster_tests::client::Client;
use roster_tests::scale::{Pace, asked};
use roster_tests::server::Server;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Callers that wait for answers at once.
const CALLERS: u32 = 32;
/// Kills.
const KILLS: u32 = 3;

/// Calls a second, as far as the machine does as many.
fn per_second() -> u32 {
    asked("ROSTER_DISPATCHES", 1_000)
}

/// Answers until each kill, about.
fn dispatches() -> u32 {
    asked("ROSTER_CRASH_DISPATCHES", 600)
}

fn call(run_id: &str) -> Value {
    json!({
        "channel": "line",
        "external_user_id": "U-ada",
        "run_id": run_id,
        "agent_alias": "sales",
        "endpoint": "POST /orders",
        "invoker_fields": {"user_id": "customer_user_id"},
        "llm_fields": {"user_id": "eve"},
    })
}

/// Every run in the journal, once.
async fn journaled(client: &Client) -> HashSet<String> {
    let mut runs = HashSet::new();
    let mut cursor = Value::Null;
    loop {
        let members = json!({"page_size": 200, "cursor": cursor});
        let page = client.ok("audit/list", members).await;
        for item in page["items"].as_array().expect("items") {
            assert_eq!(item["injected_fields"], json!({"user_id": "ada"}), "{item}");
            let run = item["run_id"].as_str().expect("a run").to_owned();
            assert!(runs.insert(run), "twice: {item}");
        }
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            return runs;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dispatch_that_was_answered_is_in_the_journal_after_a_kill() {
    let mut server = Server::start().await.expect("a server");
    let mut client = Client::of_project(&server, "p").await.expect("a client");
    client.upsert("ada", json!({})).await;
    let grant = json!({"customer_user_id": "ada", "channel": "line", "external_user_id": "U-ada", "agents": ["*"]});
    client.ok("users/attach-channel-grant", grant).await;
    let seed: u64 = rand::random();
    eprintln!("kills by the seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut answered: HashSet<String> = HashSet::new();
    for kill in 0..KILLS {
        let until_kill = random.random_range(dispatches() / 2..=dispatches());
        let (count, enough) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (pace, started) = (Arc::new(Pace::start(per_second())), Instant::now());
        let callers = (0..CALLERS).map(|_| {
            let (client, count, enough) = (client.clone(), Arc::clone(&count), Arc::clone(&enough));
            let pace = Arc::clone(&pace);
            async move {
                let mut runs = Vec::new();
                let (address, _) = client.bytes_of("dispatches", &json!({}));
                let mut connection = Connection::open(address).await.expect("a connection");
                loop {
                    let run = format!("{kill}-{}", pace.turn().await);
                    let (_, request) = client.bytes_of("dispatches", &call(&run));
                    // The first call that gets no answer is the kill.
                    let Ok(status) = connection.send(&request).await else {
                        return runs;
                    };
                    let answer: Value = serde_json::from_slice(connection.body()).expect("JSON");
                    assert_eq!(
                        (status, &answer["allowed"]),
                        (200, &json!(true)),
                        "{answer}"
                    );
                    runs.push(run);
                    if count.fetch_add(1, Ordering::Relaxed) + 1 == until_kill {
                        enough.notify_one();
                    }
                }
            }
        });
        let killing = async {
            enough.notified().await;
            let took = started.elapsed().as_secs_f64();
            server.kill().expect("a kill");
            let rate = f64::from(until_kill) / took;
            eprintln!("kill {kill}: {until_kill} dispatches were answered, {rate:.0} a second");
        };
        let (runs, ()) = tokio::join!(join_all(callers), killing);
        answered.extend(runs.into_iter().flatten());
        server.restart().await.expect("a start");
        client = client.at(&server);
        let found = journaled(&client).await;
        let lost: Vec<&String> = answered.difference(&found).collect();
        assert!(
            lost.is_empty(),
            "{} of {} are lost",
            lost.len(),
            answered.len()
        );
    }
    assert!(answered.len() >= (KILLS * dispatches() / 2) as usize);
    // A call that got no answer may have been written; sent again, it is one.
    let before = journaled(&client).await;
    for run in before.iter().take(20) {
        client.ok("dispatches", call(run)).await;
    }
    assert_eq!(journaled(&client).await, before);
}
