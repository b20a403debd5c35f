//! Purges as a caller makes them: started, waited for, and their counts read.

use std::ops::Range;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;

/// A server with these settings, and a caller of a project of it.
pub async fn start(settings: &[(&str, &str)], project_id: &str) -> (Server, Client) {
    let server = Server::start_with(settings).await.expect("a server");
    let client = Client::of_project(&server, project_id)
        .await
        .expect("a client");
    (server, client)
}

/// So many customers of a provider, by a streamed import: `c00007` with the address `person7@example.org`.
pub async fn fill(client: &Client, provider: &str, numbers: Range<u32>) {
    let rows: Vec<String> = numbers
        .map(|number| format!("c{number:05},person{number}@example.org"))
        .collect();
    let csv = format!("customer_user_id,email\n{}\n", rows.join("\n"));
    let answer = client.import(&format!("provider={provider}"), csv).await;
    client.import_ended(&answer.ok()["import_id"]).await;
}

/// Starts a purge and waits for its end.
pub async fn purge(client: &Client, route: &str, members: Value) -> Value {
    let answer = client.post(route, members).await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.ok()["status"], "pending", "{answer}");
    client.purge_ended(&answer.ok()["purge_id"]).await
}

/// Total, deleted, not found and failed.
pub fn stats(purge: &Value) -> [i64; 4] {
    ["total", "deleted", "not_found", "failed"]
        .map(|name| purge["stats"][name].as_i64().expect("a number"))
}

/// Customers that are listed.
pub async fn total(client: &Client) -> i64 {
    client.ok("users/list", json!({})).await["total"]
        .as_i64()
        .expect("a total")
}
