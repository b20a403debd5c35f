//! CSV imports as a caller makes them: sent, waited for, and their counts added up.

use reqwest::Body;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::until::until;

/// Imports as JSON, with further members of the body; the result, which is there at once.
pub async fn import_text(client: &Client, csv: &str, mut members: Value) -> Value {
    members["csv"] = json!(csv);
    let answer = client.post("users/import-csv", members).await;
    assert_eq!(answer.status, 200, "{answer}");
    let result = answer.ok();
    assert_adds_up(&result);
    result
}

/// Imports as a stream, with further members of the query, and waits for the result.
pub async fn import_stream(client: &Client, options: &str, csv: impl Into<Body>) -> Value {
    finished(client, &started(&client.import(options, csv).await)).await
}

/// What names an import that goes on.
pub fn started(answer: &Answer) -> Value {
    assert_eq!(answer.status, 202, "{answer}");
    json!({"import_id": answer.ok()["import_id"]})
}

/// Waits for the end of an import. After a kill reads are behind for a while, and know nothing of a new one yet.
pub async fn finished(client: &Client, import: &Value) -> Value {
    let result = until("the end of an import", async || {
        let found = client.post("users/imports/get", import.clone()).await;
        if found.status == 404 {
            return None;
        }
        Some(found.ok()).filter(|found| !found["finished_at"].is_null())
    });
    let result = result.await;
    assert_adds_up(&result);
    result
}

/// Created, updated, unchanged, skipped and failed.
pub fn counts(result: &Value) -> [u64; 5] {
    ["created", "updated", "unchanged", "skipped", "failed"].map(|name| count(result, name))
}

fn count(result: &Value, name: &str) -> u64 {
    result[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name}: {result}"))
}

fn assert_adds_up(result: &Value) {
    assert_eq!(
        count(result, "total"),
        counts(result).iter().sum::<u64>(),
        "{result}"
    );
}
