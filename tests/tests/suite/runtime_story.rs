//! One story from beginning to end: a project is set up, somebody known writes, an agent is dispatched, somebody unknown writes
//! and is linked by hand.

use roster_tests::client::Client;
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

fn schema() -> Value {
    let mut schema = with(&[
        field("full_name", &json!({})),
        field("email", &json!({"type": "email", "unique": true})),
        field("phone", &json!({"type": "phone", "default_region": "DE"})),
    ]);
    schema["match_rules"] = json!([{"channel": "whatsapp", "field": "phone"}]);
    schema["match_messages"] = json!({"default": {
        "matched": "Hello {display_name}",
        "unmatched": "Who are you?",
    }});
    schema
}

async fn message_from(client: &Client, phone: &str) -> Value {
    let sighting = json!({"channel": "whatsapp", "external_user_id": phone, "facts": {"display_name": "Somebody"}});
    client.ok("identities/resolve", sighting).await
}

/// The agent wants to order something; the model makes up whose order it is.
fn order(phone: &str, run_id: &str) -> Value {
    json!({
        "channel": "whatsapp",
        "external_user_id": phone,
        "run_id": run_id,
        "agent_alias": "sales",
        "endpoint": "POST /orders",
        "invoker_fields": {"user_id": "customer_user_id", "mail": "email"},
        "llm_fields": {"user_id": "c-2", "article": "A-17", "pieces": 3},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_is_found_and_only_their_own_data_goes_in() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "story")
        .await
        .expect("a client");
    client
        .ok("schema/upsert", json!({"schema": schema()}))
        .await;
    let csv = "customer_user_id,full_name,email,phone\n\
               c-1,Ada Lovelace,ada@example.org,0170 1234567\n\
               c-2,Alan Turing,alan@example.org,0170 7654321\n";
    let imported = client.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(imported["created"], 2, "{imported}");
    let grant = json!({"channel": "whatsapp", "external_user_id": "*", "agents": ["sales"]});
    client.ok("users/attach-channel-grant", grant).await;

    // A message from a known phone.
    let known = message_from(&client, "+49 170 1234567").await;
    assert_eq!(known["customer"]["customer_user_id"], "c-1", "{known}");
    assert_eq!(known["message"], "Hello Ada Lovelace");
    assert_eq!(known["access"]["allowed"], true);

    // Her ids are injected; what the model said about whose order it is, is dropped and listed.
    let dispatched = client
        .ok("dispatches", order("+49 170 1234567", "run-1"))
        .await;
    assert_eq!(
        dispatched,
        json!({
            "allowed": true,
            "reason": "matched",
            "trust": "linked",
            "injected_fields": {"mail": "ada@example.org", "user_id": "c-1"},
            "dropped_llm_fields": ["user_id"],
            "fields": {"article": "A-17", "mail": "ada@example.org", "pieces": 3, "user_id": "c-1"},
        })
    );
    let audit = client.ok("audit/list", json!({})).await;
    let mut record = audit["items"][0].clone();
    assert!(record["created_at"].is_string() && record["customer_ref"].is_string());
    record["created_at"].take();
    record["customer_ref"].take();
    assert_eq!(
        record,
        json!({
            "run_id": "run-1",
            "channel": "whatsapp",
            "external_user_id": "+491701234567",
            "customer_user_id": "c-1",
            "customer_ref": null,
            "agent_alias": "sales",
            "endpoint": "POST /orders",
            "trust": "linked",
            "injected_fields": {"mail": "ada@example.org", "user_id": "c-1"},
            "dropped_llm_fields": ["user_id"],
            "outcome": "allowed",
            "created_at": null,
        })
    );
    assert_eq!(audit["total"], 1);

    // A message from a phone that nobody has.
    let unknown = message_from(&client, "+49 171 9999999").await;
    assert_eq!(
        (&unknown["matched"], &unknown["message"]),
        (&json!(false), &json!("Who are you?"))
    );
    let refused = client
        .ok("dispatches", order("+49 171 9999999", "run-2"))
        .await;
    assert_eq!(
        (&refused["allowed"], &refused["reason"], &refused["fields"]),
        (&json!(false), &json!("unmatched"), &json!({})),
        "{refused}"
    );
    let listed = until("the unknown phone to be listed", async || {
        let listed = client.ok("unmatched/list", json!({})).await;
        (listed["total"] == 1).then_some(listed)
    });
    let listed = listed.await["items"][0].clone();
    assert_eq!(listed["external_user_id"], "+491719999999");
    assert_eq!(
        (&listed["display_name"], &listed["suggestions"]),
        (&json!("Somebody"), &json!([]))
    );

    // Somebody knows whose it is.
    let link = json!({"channel": "whatsapp", "external_user_id": "+49 171 9999999", "customer_user_id": "c-2"});
    assert_eq!(client.ok("identities/link", link).await["created"], true);
    assert_eq!(client.ok("unmatched/list", json!({})).await["total"], 0);
    let resolved = message_from(&client, "+49 171 9999999").await;
    assert_eq!(
        (&resolved["customer"]["customer_user_id"], &resolved["via"]),
        (&json!("c-2"), &json!("link"))
    );
    let dispatched = client
        .ok("dispatches", order("+49 171 9999999", "run-3"))
        .await;
    assert_eq!(dispatched["fields"]["user_id"], "c-2", "{dispatched}");
    let audit = client.ok("audit/list", json!({})).await;
    let runs: Vec<&Value> = audit["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["run_id"])
        .collect();
    assert_eq!(runs, ["run-3", "run-2", "run-1"]);
}
