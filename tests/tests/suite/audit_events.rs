//! Who changed what in a project, as the audit log tells it.

use roster_tests::client::{ACCOUNT, Answer, Client, Credential, ORG, token};
use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use serde_json::{Value, json};

const ROUTE: &str = "audit/events/list";

/// The events that pass a filter, once everything up to an answered write is in the audit log.
async fn list(client: &Client, after: &Answer, filters: Value) -> Vec<Value> {
    let minimum = format!("1:{}", after.position());
    let page = client
        .with_header("roster-min-position", &minimum)
        .ok(ROUTE, filters)
        .await;
    page["items"].as_array().expect("items").clone()
}

fn kinds(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .filter_map(|item| item["type"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_changed_what_and_is_narrowed_by_each_filter() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "audited").await;
    let other = typed_project(&server, "other").await;
    other.upsert("c1", json!({"full_name": "Not here"})).await;
    let claims = json!({
        "sub": "ada@example.org", "exp": 4_102_444_800_i64, "account_id": ACCOUNT, "org_id": ORG,
        "project_id": "audited", "is_admin": true,
    });
    let ada = client.with_credential(Credential::Bearer(token(&claims)));
    let record = client
        .upsert(
            "c1",
            json!({"full_name": "Grace", "email": "grace@example.org"}),
        )
        .await;
    client.upsert("c2", json!({"full_name": "Second"})).await;
    let members = json!({"customer_user_id": "c1", "profile": {"full_name": "Grace Hopper", "email": null}, "enabled": false,
        "connector_enabled": {"sms": false}});
    let updated = ada.post("users/upsert", members).await;

    let all = list(&client, &updated, json!({})).await;
    assert_eq!(
        kinds(&all),
        [
            "customer.updated",
            "customer.registered",
            "customer.registered",
            "schema.replaced"
        ]
    );
    let newest = &all[0];
    assert_eq!(newest["position"], updated.position());
    assert_eq!(
        newest["actor"],
        json!({"principal": "token", "subject": "ada@example.org"})
    );
    assert_eq!(newest["customer_ref"], record["customer_ref"]);
    assert_eq!(newest["customer_user_id"], "c1");
    assert_eq!(
        newest["changed_fields"],
        json!([
            "profile.email",
            "profile.full_name",
            "enabled",
            "connector_enabled.sms"
        ])
    );
    assert_eq!(
        (&all[3]["customer_ref"], &all[3]["customer_user_id"]),
        (&Value::Null, &Value::Null)
    );
    let key = all[1]["actor"]["principal"].clone();
    let at = all[1]["at"].clone();
    for (filters, expected) in [
        (json!({"actor": "token"}), vec![&all[0]]),
        (json!({"actor": key}), vec![&all[1], &all[2], &all[3]]),
        (json!({"actor": "system"}), vec![]),
        (
            json!({"type": "customer.registered"}),
            vec![&all[1], &all[2]],
        ),
        (json!({"customer_user_id": "c1"}), vec![&all[0], &all[2]]),
        (
            json!({"customer_ref": record["customer_ref"]}),
            vec![&all[0], &all[2]],
        ),
        (json!({"customer_user_id": "nobody"}), vec![]),
        (json!({"from": at}), vec![&all[0], &all[1]]),
        (json!({"to": at}), vec![&all[2], &all[3]]),
        (json!({"from": at, "to": at}), vec![]),
        (
            json!({"from": "1999-01-01T00:00:00Z", "to": "2999-01-01T00:00:00Z", "actor": "token"}),
            vec![&all[0]],
        ),
        (
            json!({"actor": key, "type": "customer.registered", "customer_user_id": "c1"}),
            vec![&all[2]],
        ),
        (json!({"page": 2, "page_size": 3}), vec![&all[3]]),
    ] {
        let found = list(&client, &updated, filters.clone()).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filters}");
    }
    let mut paged = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = client
            .ok(ROUTE, json!({"page_size": 1, "cursor": cursor}))
            .await;
        assert_eq!(page["total"], 4);
        paged.extend(page["items"].as_array().expect("items").clone());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(paged, all);
    client
        .refused(ROUTE, json!({"cursor": "nonsense"}), 422, "invalid_cursor")
        .await;
    client
        .invalid(ROUTE, json!({"type": "customer.promoted"}), "body.type")
        .await;
    client
        .invalid(ROUTE, json!({"from": "yesterday"}), "body.from")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_outlives_a_person_without_naming_anybody() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "outlives").await;
    let record = client.upsert("c1", json!({"full_name": "Ada"})).await;
    client
        .upsert("c1", json!({"full_name": "Ada Lovelace"}))
        .await;
    let erased = client
        .post("users/delete", json!({"customer_user_id": "c1"}))
        .await;
    let items = list(
        &client,
        &erased,
        json!({"customer_ref": record["customer_ref"]}),
    )
    .await;
    assert_eq!(
        kinds(&items),
        ["customer.erased", "customer.updated", "customer.registered"]
    );
    assert_eq!(items[1]["changed_fields"], json!(["profile.full_name"]));
    for item in &items {
        assert_eq!(item["customer_user_id"], Value::Null);
        assert_eq!(item["customer_ref"], record["customer_ref"]);
    }
    let text = Value::from(items).to_string();
    assert!(!text.contains("Ada") && !text.contains("\"c1\""), "{text}");
}
