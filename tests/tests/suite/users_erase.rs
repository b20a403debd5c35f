//! Erasing a customer, and ids that imports must skip.

use roster_tests::client::{Client, ids};
use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_customer_who_comes_back_is_somebody_else() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "erasing").await;
    let first = client
        .upsert(
            "c1",
            json!({"full_name": "Ada", "email": "ada@example.org"}),
        )
        .await;
    let deleted = client
        .ok("users/delete", json!({"customer_user_id": " c1 "}))
        .await;
    assert_eq!(
        deleted,
        json!({"deleted": true, "customer_user_id": "c1", "revoked": {"links": 0, "grants": 0}})
    );
    for route in ["users/get", "users/delete"] {
        client
            .refused(
                route,
                json!({"customer_user_id": "c1"}),
                404,
                "customer_not_found",
            )
            .await;
    }
    client
        .refused(
            "users/get",
            json!({"fields": {"email": "ada@example.org"}}),
            404,
            "customer_not_found",
        )
        .await;
    client
        .refused(
            "users/delete",
            json!({"customer_user_id": "nobody"}),
            404,
            "customer_not_found",
        )
        .await;
    client
        .invalid("users/delete", json!({}), "body.customer_user_id")
        .await;
    assert_eq!(client.ok("users/list", json!({})).await["total"], 0);
    assert_eq!(
        client.ok("users/data-sources/list", json!({})).await["total_customers"],
        0
    );
    assert_eq!(
        client.ok("users/suppressions/list", json!({})).await["total"],
        0
    );

    let second = client.ok("users/upsert", json!({"customer_user_id": "c1", "profile": {"full_name": "Another", "email": "ada@example.org"}})).await;
    assert_eq!(
        (&second["created"], &second["customer"]["version"]),
        (&json!(true), &json!(1))
    );
    assert_ne!(second["customer"]["customer_ref"], first["customer_ref"]);
    assert_eq!(client.ids(json!({})).await, ["c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_skip_a_suppressed_id_until_it_is_free_again() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "suppressing")
        .await
        .expect("a client");
    for id in ["a", "b", "c"] {
        client.upsert(id, json!({})).await;
        client
            .ok(
                "users/delete",
                json!({"customer_user_id": id, "suppress": true}),
            )
            .await;
    }
    let page = client
        .ok("users/suppressions/list", json!({"page_size": 2}))
        .await;
    assert_eq!(
        (ids(&page), &page["total"]),
        (vec!["a".to_owned(), "b".to_owned()], &json!(3))
    );
    let next = client
        .ok(
            "users/suppressions/list",
            json!({"page_size": 2, "cursor": page["next_cursor"]}),
        )
        .await;
    assert_eq!(
        (ids(&next), &next["next_cursor"]),
        (vec!["c".to_owned()], &Value::Null)
    );
    assert_eq!(
        ids(&client
            .ok(
                "users/suppressions/list",
                json!({"page": 2, "page_size": 2})
            )
            .await),
        ["c"]
    );
    client
        .refused(
            "users/suppressions/list",
            json!({"cursor": "nonsense"}),
            422,
            "invalid_cursor",
        )
        .await;

    let csv = json!({"csv": "customer_user_id,email\na,a@example.org\nd,d@example.org\nb,b@example.org\n"});
    let import = client.ok("users/import-csv", csv.clone()).await;
    let counts = [
        "total",
        "created",
        "updated",
        "unchanged",
        "skipped",
        "failed",
    ]
    .map(|name| import[name].as_i64());
    assert_eq!(counts, [3, 1, 0, 0, 2, 0].map(Some), "{import}");
    assert_eq!(client.ids(json!({})).await, ["d"]);
    // A person at the console may bring the customer back; imports go on skipping the id.
    client.upsert("b", json!({})).await;
    assert_eq!(
        client.ok("users/import-csv", csv.clone()).await["skipped"],
        2
    );

    let removed = client
        .ok(
            "users/suppressions/remove",
            json!({"customer_user_id": " a "}),
        )
        .await;
    assert_eq!(removed, json!({"removed": true, "customer_user_id": "a"}));
    client
        .refused(
            "users/suppressions/remove",
            json!({"customer_user_id": "a"}),
            404,
            "suppression_not_found",
        )
        .await;
    client
        .refused(
            "users/suppressions/remove",
            json!({"customer_user_id": "d"}),
            404,
            "suppression_not_found",
        )
        .await;
    let import = client.ok("users/import-csv", csv).await;
    assert_eq!(
        (&import["created"], &import["skipped"]),
        (&json!(1), &json!(1)),
        "{import}"
    );
    assert_eq!(client.ids(json!({})).await, ["a", "b", "d"]);
    assert_eq!(
        ids(&client.ok("users/suppressions/list", json!({})).await),
        ["b", "c"]
    );
    // Suppressing twice is one suppression.
    client
        .ok(
            "users/delete",
            json!({"customer_user_id": "b", "suppress": true}),
        )
        .await;
    assert_eq!(
        client.ok("users/suppressions/list", json!({})).await["total"],
        2
    );
}
