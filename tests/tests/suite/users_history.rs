//! The past of a customer: what happened, the record as it was, and everything about a person in one document.

use roster_tests::client::{ACCOUNT, Client, Credential, ORG, token};
use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use serde_json::{Value, json};

/// A caller with a token.
fn person(client: &Client, project: &str, subject: &str) -> Client {
    let claims = json!({
        "sub": subject, "exp": 4_102_444_800_i64, "account_id": ACCOUNT, "org_id": ORG, "project_id": project,
        "is_admin": true,
    });
    client.with_credential(Credential::Bearer(token(&claims)))
}

fn change<'a>(item: &'a Value, field: &str) -> &'a Value {
    let changes = item["changes"].as_array().expect("changes");
    changes
        .iter()
        .find(|change| change["field"] == field)
        .unwrap_or_else(|| panic!("{field} is not in {item}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_says_who_changed_what_from_what_to_what() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "past").await;
    let ada = person(&client, "past", "ada@example.org");
    client
        .upsert("c1", json!({"full_name": "Grace", "score": 12.50}))
        .await;
    let members = json!({"customer_user_id": "c1", "profile": {"full_name": "Grace Hopper", "score": null}, "enabled": false});
    let second = ada.post("users/upsert", members).await;
    let members = json!({"customer_user_id": "c1", "connector_enabled": {"sms": false}});
    client.ok("users/upsert", members).await;
    client.upsert("c2", json!({"full_name": "Nobody"})).await;

    let history = client
        .ok("users/history", json!({"customer_user_id": " c1 "}))
        .await;
    let items = history["items"].as_array().expect("items");
    let kinds: Vec<&Value> = items.iter().map(|item| &item["type"]).collect();
    assert_eq!(
        kinds,
        [
            "customer.updated",
            "customer.updated",
            "customer.registered"
        ]
    );
    assert_eq!(
        (&history["total"], &history["next_cursor"]),
        (&json!(3), &Value::Null)
    );
    let updated = &items[1];
    assert_eq!(updated["position"], second.position());
    assert_eq!(
        updated["actor"],
        json!({"principal": "token", "subject": "ada@example.org"})
    );
    assert!(
        items[2]["actor"]["principal"]
            .as_str()
            .is_some_and(|principal| principal.starts_with("api_key:"))
    );
    assert_eq!(
        change(updated, "profile.full_name"),
        &json!({"field": "profile.full_name", "old": "Grace", "new": "Grace Hopper"})
    );
    assert_eq!(
        change(updated, "profile.score"),
        &json!({"field": "profile.score", "old": 12.5, "new": null})
    );
    assert_eq!(
        change(updated, "enabled"),
        &json!({"field": "enabled", "old": true, "new": false})
    );
    assert_eq!(
        change(&items[0], "connector_enabled.sms"),
        &json!({"field": "connector_enabled.sms", "old": null, "new": false})
    );
    assert_eq!(change(&items[2], "profile.full_name")["old"], Value::Null);

    // The same, one a page.
    let mut paged = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let members = json!({"customer_user_id": "c1", "page_size": 1, "cursor": cursor});
        let page = client.ok("users/history", members).await;
        paged.extend(page["items"].as_array().expect("items").clone());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(&paged, items);
    let last = json!({"customer_user_id": "c1", "page_size": 2, "page": 2});
    assert_eq!(client.ok("users/history", last).await["items"][0], items[2]);
    let wrong = json!({"customer_user_id": "c1", "cursor": "nonsense"});
    client
        .refused("users/history", wrong, 422, "invalid_cursor")
        .await;
    for members in [
        json!({}),
        json!({"customer_user_id": "c1", "customer_ref": "x"}),
    ] {
        client
            .invalid("users/history", members, "body.customer_user_id")
            .await;
    }
    let other = json!({"customer_user_id": "c3"});
    client
        .refused("users/history", other, 404, "customer_not_found")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_shown_as_it_was() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "then").await;
    let first = client
        .post(
            "users/upsert",
            json!({"customer_user_id": "c1", "profile": {"full_name": "Before", "email": "c1@example.org"}}),
        )
        .await;
    let record = first.ok()["customer"].clone();
    client.upsert("c1", json!({"full_name": "After"})).await;
    let history = client
        .ok("users/history", json!({"customer_user_id": "c1"}))
        .await;
    let registered = history["items"][1]["at"].clone();

    let now = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(now["user"]["profile"]["full_name"], "After");
    let as_text = json!(first.position().to_string());
    for as_of in [json!(first.position()), as_text, registered] {
        let then = client
            .ok(
                "users/get",
                json!({"customer_user_id": "c1", "as_of": as_of}),
            )
            .await;
        assert_eq!(then["user"], record, "{as_of}");
        assert_eq!(then["display_name"], "Before");
        let by_field = json!({"fields": {"email": "c1@example.org"}, "as_of": as_of});
        assert_eq!(client.ok("users/get", by_field).await, then);
    }
    let today = json!({"customer_user_id": "c1", "as_of": "2999-01-01T00:00:00Z"});
    assert_eq!(client.ok("users/get", today).await, now);
    for too_early in [
        json!(first.position() - 1),
        json!("2001-01-01T00:00:00+01:00"),
        json!(0),
    ] {
        let members = json!({"customer_user_id": "c1", "as_of": too_early});
        client
            .refused("users/get", members, 404, "customer_not_found")
            .await;
    }
    for nonsense in [
        json!("yesterday"),
        json!("2026-01-01"),
        json!(-1),
        json!([]),
    ] {
        let members = json!({"customer_user_id": "c1", "as_of": nonsense});
        client.invalid("users/get", members, "body.as_of").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_everything_until_nothing_is_left() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "export").await;
    let record = client
        .upsert(
            "c1",
            json!({"full_name": "Ada", "email": "ada@example.org"}),
        )
        .await;
    let changed = client
        .upsert("c1", json!({"full_name": "Ada Lovelace"}))
        .await;
    let document = client
        .ok("users/person-export", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(document["record"], changed);
    let kinds: Vec<&Value> = document["history"]
        .as_array()
        .expect("a history")
        .iter()
        .map(|item| &item["type"])
        .collect();
    assert_eq!(kinds, ["customer.registered", "customer.updated"]);
    assert!(document["exported_at"].is_string());

    client
        .ok("users/delete", json!({"customer_user_id": "c1"}))
        .await;
    let members = json!({"customer_user_id": "c1"});
    for route in ["users/person-export", "users/history"] {
        client
            .refused(route, members.clone(), 404, "customer_not_found")
            .await;
    }
    // The reference still tells that something happened, and nothing of whom.
    let members = json!({"customer_ref": record["customer_ref"]});
    let history = client.ok("users/history", members.clone()).await;
    assert_eq!(history["items"][0]["type"], "customer.erased");
    assert_eq!(
        change(&history["items"][1], "profile.full_name"),
        &json!({"field": "profile.full_name", "old": null, "new": null})
    );
    let text = history.to_string();
    assert!(!text.contains("Ada") && !text.contains("\"c1\""), "{text}");
    let neighbour = Client::of_project(&server, "elsewhere")
        .await
        .expect("a client");
    neighbour.upsert("x", json!({})).await;
    neighbour
        .refused("users/history", members, 404, "customer_not_found")
        .await;
}
