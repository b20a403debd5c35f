//! Creating and changing one customer.

use roster_tests::client::{Client, project};
use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_merges_replaces_and_clears() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "merging").await;
    let profile = |record: &Value| record["profile"].clone();
    let created = client.ok("users/upsert", json!({
        "customer_user_id": "c1", "profile": {"full_name": "Ada", "email": "ada@example.org", "city": "London", "age": 36},
    })).await;
    assert_eq!(
        (&created["created"], &created["changed"]),
        (&json!(true), &json!(true))
    );
    let customer_ref = created["customer"]["customer_ref"].clone();

    // Absent keeps, null and blank clear.
    let merged = client
        .upsert("c1", json!({"city": null, "age": "", "team": "engine"}))
        .await;
    assert_eq!(
        profile(&merged),
        json!({"customer_user_id": "c1", "full_name": "Ada", "email": "ada@example.org", "team": "engine"})
    );
    assert_eq!(
        (&merged["version"], &merged["customer_ref"]),
        (&json!(2), &customer_ref)
    );

    let before = client.head().await;
    let same = client.ok("users/upsert", json!({
        "customer_user_id": " c1 ", "enabled": true, "connector_enabled": {"sms": true},
        "profile": {"email": "ADA@example.org ", "team": "engine", "city": null, "customer_user_id": "c1"},
    })).await;
    assert_eq!(
        (&same["created"], &same["changed"]),
        (&json!(false), &json!(false)),
        "{same}"
    );
    assert_eq!(
        same["customer"], merged,
        "nothing changed, so nothing moved"
    );
    assert_eq!(
        client.head().await,
        before,
        "nothing changed, so there is no event"
    );

    client
        .invalid(
            "users/upsert",
            json!({"customer_user_id": "c1", "profile": {"full_name": null}}),
            "body.profile.full_name",
        )
        .await;
    client
        .invalid(
            "users/upsert",
            json!({"customer_user_id": "c2", "profile": {"email": "x@example.org"}}),
            "body.profile.full_name",
        )
        .await;
    let replacing =
        json!({"customer_user_id": "c1", "profile": {"email": "ada@example.org"}, "replace": true});
    client
        .invalid("users/upsert", replacing, "body.profile.full_name")
        .await;
    assert_eq!(client.head().await, before);
    let replaced = client
        .ok(
            "users/upsert",
            json!({
                "customer_user_id": "c1", "profile": {"full_name": "Ada King"}, "replace": true,
            }),
        )
        .await;
    assert_eq!(
        profile(&replaced["customer"]),
        json!({"customer_user_id": "c1", "full_name": "Ada King"})
    );

    // A released value is free for another customer.
    client
        .upsert(
            "c2",
            json!({"full_name": "Grace", "email": "ada@example.org"}),
        )
        .await;

    let off = client
        .ok(
            "users/upsert",
            json!({"customer_user_id": "c1", "enabled": false}),
        )
        .await;
    assert_eq!(
        (&off["customer"]["enabled"], &off["changed"]),
        (&json!(false), &json!(true))
    );
    let switched = client
        .ok(
            "users/upsert",
            json!({"customer_user_id": "c1", "connector_enabled": {" WhatsApp": false}}),
        )
        .await;
    assert_eq!(
        switched["customer"]["connector_enabled"],
        json!({"whatsapp": false})
    );
    assert_eq!(
        switched["customer"]["enabled"], false,
        "an absent switch stays"
    );
    let unknown = json!({"customer_user_id": "c1", "connector_enabled": {"pigeon": false}});
    client
        .invalid("users/upsert", unknown, "body.connector_enabled")
        .await;

    for (members, place) in [
        (
            json!({"profile": {"full_name": "Nobody"}}),
            "body.customer_user_id",
        ),
        (
            json!({"customer_user_id": "  ", "profile": {}}),
            "body.customer_user_id",
        ),
        (
            json!({"customer_user_id": "x".repeat(257)}),
            "body.customer_user_id",
        ),
        (
            json!({"customer_user_id": "a\u{7}b"}),
            "body.customer_user_id",
        ),
        (json!({"customer_user_id": 7}), "body.customer_user_id"),
        (
            json!({"customer_user_id": "c1", "enabled": "perhaps"}),
            "body.enabled",
        ),
        (
            json!({"customer_user_id": "c1", "profile": []}),
            "body.profile",
        ),
        (
            json!({"customer_user_id": "c1", "profil": {}}),
            "body.profil",
        ),
        (
            json!({"customer_user_id": "c1", "expected_version": "1"}),
            "body.expected_version",
        ),
        (
            json!({"customer_user_id": "c1", "data_source": {"kind": "sheet"}}),
            "body.data_source.kind",
        ),
        (
            json!({"customer_user_id": "c1", "data_source": {"kind": "csv", "connection_id": "x"}}),
            "body.data_source.connection_id",
        ),
        (
            json!({"customer_user_id": "c1", "data_source": {"kind": "csv", "synced_at": "2026-01-01T00:00:00"}}),
            "body.data_source.synced_at",
        ),
        (
            json!({"customer_user_id": "c1", "data_source": {"kind": "csv", "provider": "x".repeat(65)}}),
            "body.data_source.provider",
        ),
    ] {
        client.invalid("users/upsert", members, place).await;
    }
    client.refused("users/upsert", json!({"customer_user_id": "c1", "data_source": {"kind": "directory_sync", "connection_id": "x"}}), 404, "connection_not_found").await;
    let twice = client.body(&json!({"customer_user_id": "c1"})).to_string();
    let twice = twice.replacen('{', r#"{"profile":{"city":"a","city":"b"},"#, 1);
    assert_eq!(client.post_text("users/upsert", twice).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_the_primary_key_and_case_matters() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "ids").await.expect("a client");
    // The default schema: the id fills its own field.
    let record = client.upsert("Ada", json!({})).await;
    assert_eq!(record["profile"], json!({"customer_user_id": "Ada"}));
    client.upsert("ada", json!({})).await;
    client.upsert("  ädä ✓ ", json!({})).await;
    assert_eq!(client.ids(json!({})).await, ["Ada", "ada", "ädä ✓"]);
    let by_profile = client
        .ok(
            "users/upsert",
            json!({"profile": {"customer_user_id": " Bob "}}),
        )
        .await;
    assert_eq!(by_profile["customer"]["customer_user_id"], "Bob");
    let differing = json!({"customer_user_id": "Ada", "profile": {"customer_user_id": "Bob"}});
    client
        .refused("users/upsert", differing, 409, "primary_key_mismatch")
        .await;
    let id = "€".repeat(256);
    assert_eq!(client.upsert(&id, json!({})).await["customer_user_id"], id);

    // Another primary key: the canonical spelling of its value is the id.
    let numbered = client.in_scope(project("numbers"));
    numbered
        .ok(
            "schema/upsert",
            json!({"primary_key": "email", "fields": [
                {"name": "email", "type": "email", "required": true}, {"name": "full_name"},
            ]}),
        )
        .await;
    let record = numbered
        .ok(
            "users/upsert",
            json!({"profile": {"email": " Ada@Example.org"}}),
        )
        .await;
    assert_eq!(
        (&record["customer"]["customer_user_id"], &record["created"]),
        (&json!("ada@example.org"), &json!(true))
    );
    let again = numbered
        .ok(
            "users/upsert",
            json!({"customer_user_id": "ADA@example.org", "profile": {"full_name": "Ada"}}),
        )
        .await;
    assert_eq!(
        (&again["created"], &again["customer"]["profile"]["email"]),
        (&json!(false), &json!("ada@example.org"))
    );
    let found = numbered
        .ok(
            "users/get",
            json!({"customer_user_id": " ADA@EXAMPLE.ORG "}),
        )
        .await;
    assert_eq!(found["display_name"], "Ada");
    numbered
        .ok("users/get", json!({"fields": {"email": "Ada@example.org"}}))
        .await;
    numbered.refused("users/upsert", json!({"customer_user_id": "ada@example.org", "profile": {"email": "grace@example.org"}}), 409, "primary_key_mismatch").await;
    numbered.refused("users/upsert", json!({"customer_user_id": "ada@example.org", "profile": {"email": "grace@example.org"}, "replace": true}), 409, "primary_key_mismatch").await;
    numbered
        .invalid(
            "users/upsert",
            json!({"customer_user_id": "no address"}),
            "body.customer_user_id",
        )
        .await;
    numbered
        .ok(
            "users/delete",
            json!({"customer_user_id": "ADA@example.org"}),
        )
        .await;
    assert_eq!(numbered.ok("users/list", json!({})).await["total"], 0);

    for (profile, name) in [
        (
            json!({"full_name": "Full", "name": "Name", "email": "e@example.org"}),
            "Full",
        ),
        (
            json!({"name": "Name", "first_name": "First", "last_name": "Last"}),
            "Name",
        ),
        (
            json!({"first_name": "First", "last_name": "Last", "email": "e2@example.org"}),
            "First Last",
        ),
        (json!({"email": "e3@example.org"}), "e3@example.org"),
        (json!({"phone": "+15052307040"}), "shown"),
    ] {
        let record = client
            .ok(
                "users/upsert",
                json!({"customer_user_id": "shown", "profile": profile, "replace": true}),
            )
            .await;
        assert_eq!(record["customer"]["display_name"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_keeps_its_tag_unless_somebody_changes_it() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "tags").await.expect("a client");
    let kind = |record: &Value| {
        format!(
            "{} {}",
            record["data_source"]["kind"], record["data_source"]["provider"]
        )
    };
    let manual = client.upsert("manual", json!({})).await;
    assert_eq!(kind(&manual), r#""manual" null"#);
    let tagged =
        json!({"customer_user_id": "synced", "data_source": {"kind": "scim", "provider": "okta"}});
    assert_eq!(
        kind(&client.ok("users/upsert", tagged).await["customer"]),
        r#""scim" "okta""#
    );
    assert_eq!(
        kind(&client.upsert("synced", json!({"city": "Rome"})).await),
        r#""scim" "okta""#
    );

    let csv = "customer_user_id,city\nmanual,Bonn\nsynced,Bonn\nnew,Bonn\n";
    let import = client
        .ok("users/import-csv", json!({"csv": csv, "provider": "erp"}))
        .await;
    assert_eq!(
        (&import["created"], &import["updated"]),
        (&json!(1), &json!(2)),
        "{import}"
    );
    for (id, expected) in [
        ("manual", r#""csv" "erp""#),
        ("new", r#""csv" "erp""#),
        ("synced", r#""scim" "okta""#),
    ] {
        let found = client
            .ok("users/get", json!({"customer_user_id": id}))
            .await;
        assert_eq!(kind(&found["user"]), expected, "{id}");
        assert_eq!(found["user"]["profile"]["city"], "Bonn", "{id}");
    }
    let retagged = json!({"customer_user_id": "new", "data_source": {"kind": "manual"}});
    assert_eq!(
        kind(&client.ok("users/upsert", retagged).await["customer"]),
        r#""manual" null"#
    );
}
