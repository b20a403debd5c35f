//! Unique values, expected versions, and the verdicts of a bulk request.

use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_has_one_holder_and_versions_guard_a_change() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "unique").await;
    client
        .upsert(
            "c1",
            json!({"full_name": "Ada", "email": "ada@example.org", "phone": "0170 1234567"}),
        )
        .await;
    client.upsert("c2", json!({"full_name": "Grace"})).await;
    let before = client.head().await;
    for (field, value) in [("email", "ADA@example.org"), ("phone", "+49 170 1234567")] {
        for id in ["c2", "c3"] {
            let upsert =
                json!({"customer_user_id": id, "profile": {"full_name": "Grace", field: value}});
            let detail = client
                .refused("users/upsert", upsert, 409, "unique_value_taken")
                .await;
            assert_eq!(
                (&detail["field"], &detail["customer_user_id"]),
                (&json!(field), &json!("c1")),
                "{detail}"
            );
        }
    }
    assert_eq!(client.head().await, before);
    assert_eq!(client.ids(json!({})).await, ["c1", "c2"]);

    for (by, id) in [
        (json!({"email": " ADA@example.org"}), "c1"),
        (json!({"phone": "01701234567"}), "c1"),
        (json!({"customer_user_id": "c2"}), "c2"),
    ] {
        let found = client.ok("users/get", json!({"fields": by})).await;
        assert_eq!(found["customer_user_id"], id);
    }
    client
        .refused(
            "users/get",
            json!({"fields": {"email": "nobody@example.org"}}),
            404,
            "customer_not_found",
        )
        .await;
    client
        .refused(
            "users/get",
            json!({"customer_user_id": "C1"}),
            404,
            "customer_not_found",
        )
        .await;
    client
        .invalid(
            "users/get",
            json!({"fields": {"full_name": "Ada"}}),
            "body.fields.full_name",
        )
        .await;
    for (members, place) in [
        (json!({}), "body.customer_user_id"),
        (
            json!({"customer_user_id": "c1", "fields": {"email": "ada@example.org"}}),
            "body.fields",
        ),
        (
            json!({"fields": {"email": "ada@example.org", "phone": "01701234567"}}),
            "body.fields",
        ),
    ] {
        client.invalid("users/get", members, place).await;
    }

    let change = |version: i32, city: &str| json!({"customer_user_id": "c2", "profile": {"city": city}, "expected_version": version});
    let detail = client
        .refused("users/upsert", change(7, "Rome"), 409, "version_conflict")
        .await;
    assert_eq!(detail["current_version"], 1);
    client
        .refused("users/upsert", change(0, "Rome"), 409, "version_conflict")
        .await;
    assert_eq!(
        client.ok("users/upsert", change(1, "Rome")).await["customer"]["version"],
        2
    );
    client
        .refused("users/upsert", change(1, "Bonn"), 409, "version_conflict")
        .await;
    let new =
        json!({"customer_user_id": "c9", "profile": {"full_name": "New"}, "expected_version": 3});
    let detail = client
        .refused("users/upsert", new, 409, "version_conflict")
        .await;
    assert_eq!(detail["current_version"], 0);
    let first =
        json!({"customer_user_id": "c9", "profile": {"full_name": "New"}, "expected_version": 0});
    assert_eq!(client.ok("users/upsert", first).await["created"], true);

    // Sixteen callers want one address: one gets it.
    let wanting = (0..16).map(|number| {
        let upsert = json!({"customer_user_id": format!("w{number}"), "profile": {"full_name": "W", "email": "one@example.org"}});
        client.post("users/upsert", upsert)
    });
    let answers = futures::future::join_all(wanting).await;
    let winners = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(winners, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(409, "unique_value_taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_items_have_a_verdict_each() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "bulk").await;
    client
        .upsert(
            "c1",
            json!({"full_name": "Ada", "email": "ada@example.org"}),
        )
        .await;
    let answer = client.ok("users/upsert-bulk", json!({"items": [
        {"customer_user_id": "c1", "profile": {"full_name": "Ada"}},
        {"customer_user_id": "c2", "profile": {"full_name": "Grace"}},
        {"customer_user_id": "c2", "profile": {"city": "Arlington"}},
        {"customer_user_id": "c2", "profile": {"city": "Arlington"}},
        {"customer_user_id": "c3", "profile": {"full_name": "Eve", "email": "ada@example.org"}},
        {"customer_user_id": "c4", "profile": {"full_name": "Bob", "email": "nonsense"}},
        {"customer_user_id": "c1", "expected_version": 9},
        {"profile": {"full_name": "Nobody"}},
        {"customer_user_id": "c1", "profile": {"customer_user_id": "c7"}},
        {"customer_user_id": "c5", "profile": {"full_name": "Linus"}, "enabled": false},
    ]})).await;
    let statuses: Vec<&str> = answer["items"]
        .as_array()
        .expect("verdicts")
        .iter()
        .map(|item| item["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(
        statuses,
        [
            "unchanged",
            "created",
            "updated",
            "unchanged",
            "failed",
            "failed",
            "failed",
            "failed",
            "failed",
            "created"
        ]
    );
    let counts =
        ["total", "created", "updated", "unchanged", "failed"].map(|name| answer[name].as_i64());
    assert_eq!(counts, [10, 2, 1, 2, 5].map(Some));
    let codes: Vec<&Value> = (4..9)
        .map(|place| &answer["items"][place]["error"]["code"])
        .collect();
    assert_eq!(
        codes,
        [
            "unique_value_taken",
            "invalid",
            "version_conflict",
            "invalid",
            "primary_key_mismatch"
        ]
    );
    assert_eq!(answer["items"][4]["error"]["customer_user_id"], "c1");
    assert_eq!(
        answer["items"][5]["error"]["problems"][0]["loc"],
        json!(["body", "items", 5, "profile", "email"])
    );
    assert_eq!(
        (
            &answer["items"][1]["version"],
            &answer["items"][2]["version"]
        ),
        (&json!(1), &json!(2))
    );
    assert_eq!(client.ids(json!({})).await, ["c1", "c2", "c5"]);
    assert_eq!(
        client.ids(json!({"enabled_only": true})).await,
        ["c1", "c2"]
    );

    let items = |count: usize| -> Vec<Value> {
        (0..count).map(|number| json!({"customer_user_id": format!("b{number}"), "profile": {"full_name": "B"}})).collect()
    };
    client
        .invalid(
            "users/upsert-bulk",
            json!({"items": items(501)}),
            "body.items",
        )
        .await;
    client
        .invalid("users/upsert-bulk", json!({"items": []}), "body.items")
        .await;
    client
        .invalid("users/upsert-bulk", json!({}), "body.items")
        .await;
    client
        .invalid(
            "users/upsert-bulk",
            json!({"items": [{"customer_user_id": "x", "profil": {}}]}),
            "body.items.0.profil",
        )
        .await;
    assert_eq!(
        client.ok("users/list", json!({})).await["total"],
        3,
        "a refused request wrote something"
    );
    assert_eq!(
        client
            .ok("users/upsert-bulk", json!({"items": items(500)}))
            .await["created"],
        500
    );
}
