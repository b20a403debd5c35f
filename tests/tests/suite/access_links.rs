//! Links: who is behind an identity, by hand and in step with the profile.

use roster_tests::client::{Client, Credential, ids};
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use serde_json::{Value, json};

/// A client of a project whose numbers are German, with bindings of sms and whatsapp to them.
async fn bound_project(server: &Server, project_id: &str) -> Client {
    let client = Client::of_project(server, project_id)
        .await
        .expect("a client");
    client.ok("schema/upsert", bound()).await;
    client
}

fn bound() -> Value {
    let mut schema = with(&[
        field("phone", &json!({"type": "phone", "default_region": "DE"})),
        field("full_name", &json!({})),
        field("badge", &json!({"required": false})),
    ]);
    schema["connector_bindings"] = json!([
        {"channel": "sms", "profile_field": "phone"},
        {"channel": "whatsapp", "profile_field": "phone"},
    ]);
    schema
}

/// The identities of a customer as `channel id linked_by`.
async fn identities(client: &Client, customer_user_id: &str) -> Vec<String> {
    let members = json!({"customer_user_id": customer_user_id});
    let listed = client.ok("identities/list", members.clone()).await["items"].clone();
    let shown = client.ok("users/get", members).await["identities"].clone();
    assert_eq!(listed, shown, "users/get shows the same identities");
    let text = |item: &Value, name: &str| item[name].as_str().expect("a text").to_owned();
    let items = listed.as_array().expect("items").iter();
    items
        .map(|item| {
            assert!(item["linked_at"].is_string());
            ["channel", "external_user_id", "linked_by"]
                .map(|name| text(item, name))
                .join(" ")
        })
        .collect()
}

fn link(customer_user_id: &str, channel: &str, external_user_id: &str) -> Value {
    json!({"customer_user_id": customer_user_id, "channel": channel, "external_user_id": external_user_id})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_linked_to_one_customer_in_any_spelling() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "linking").await;
    let first = client.upsert("c1", json!({})).await;
    client.upsert("c2", json!({})).await;
    let linked = client
        .ok(
            "identities/link",
            link(" c1 ", " SMS ", "0170 123\u{a0}4567"),
        )
        .await;
    for (name, expected) in [
        ("channel", json!("sms")),
        ("external_user_id", json!("+491701234567")),
        ("customer_user_id", json!("c1")),
        ("linked_by", json!("manual")),
        ("created", json!(true)),
    ] {
        assert_eq!(linked[name], expected, "{linked}");
    }
    let head = client.head().await;
    for spelling in [
        "+491701234567",
        "0049 (170) 12-345-67",
        "\u{ff0b}491701234567",
    ] {
        let again = client
            .ok("identities/link", link("c1", "sms", spelling))
            .await;
        assert_eq!(
            (&again["created"], &again["linked_at"]),
            (&json!(false), &linked["linked_at"])
        );
        let taken = link("c2", "sms", spelling);
        let detail = client
            .refused("identities/link", taken, 409, "identity_linked_elsewhere")
            .await;
        assert_eq!(detail["customer_user_id"], "c1");
    }
    assert_eq!(client.head().await, head, "nothing was written");
    // Another channel is another identity, and a link is no part of the record.
    client
        .ok("identities/link", link("c2", "whatsapp", "+491701234567"))
        .await;
    assert_eq!(
        identities(&client, "c1").await,
        ["sms +491701234567 manual"]
    );
    assert_eq!(
        identities(&client, "c2").await,
        ["whatsapp +491701234567 manual"]
    );
    let record = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(record["user"], first);
    assert_eq!(record["user"]["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_linked_is_refused() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "refusing").await;
    client.upsert("c1", json!({})).await;
    for (members, place) in [
        (link("c1", "fax", "1"), "body.channel"),
        (link("c1", "sms", "ada"), "body.external_user_id"),
        (link("c1", "line", " * "), "body.external_user_id"),
        (link("c1", "line", "a\u{7}b"), "body.external_user_id"),
        (
            link("c1", "line", &"x".repeat(257)),
            "body.external_user_id",
        ),
        (link("", "line", "U1"), "body.customer_user_id"),
        (json!({"channel": "line"}), "body.external_user_id"),
    ] {
        client.invalid("identities/link", members, place).await;
    }
    for route in ["identities/link", "identities/unlink"] {
        client
            .refused(
                route,
                link("nobody", "line", "U1"),
                404,
                "customer_not_found",
            )
            .await;
    }
    for route in ["identities/list", "users/channel-access/list"] {
        let nobody = json!({"customer_user_id": "nobody"});
        client
            .refused(route, nobody, 404, "customer_not_found")
            .await;
    }
    client
        .invalid(
            "identities/unlink",
            json!({"channel": "line"}),
            "body.external_user_id",
        )
        .await;
    // A project that nobody wrote to has no identities.
    let elsewhere = client.in_scope(roster_tests::client::project("untouched"));
    assert_eq!(
        elsewhere.ok("identities/list-all", json!({})).await["total"],
        0
    );
    let unlinked = elsewhere
        .ok(
            "identities/unlink",
            json!({"channel": "line", "external_user_id": "U1"}),
        )
        .await;
    assert_eq!(unlinked["unlinked"], false);
    elsewhere
        .refused(
            "identities/link",
            link("c1", "line", "U1"),
            404,
            "customer_not_found",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlinking_takes_the_grant_and_the_profile_only_when_asked() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "unlinking").await;
    client.upsert("c1", json!({"phone": "0170 1234567"})).await;
    let grant = json!({"customer_user_id": "c1", "channel": "sms", "agents": ["sales"]});
    client.ok("users/attach-channel-grant", grant.clone()).await;
    let sms = json!({"channel": "sms", "external_user_id": "+491701234567"});
    let outcome = client.ok("identities/unlink", sms.clone()).await;
    assert_eq!(
        outcome,
        json!({"unlinked": true, "revoked_grant": true, "cleared_profile_field": false})
    );
    let nothing =
        json!({"unlinked": false, "revoked_grant": false, "cleared_profile_field": false});
    assert_eq!(client.ok("identities/unlink", sms.clone()).await, nothing);
    assert_eq!(
        identities(&client, "c1").await,
        ["whatsapp +491701234567 profile"]
    );
    // The value stays, and writing it again does not bring the link back; a grant does.
    client
        .upsert(
            "c1",
            json!({"phone": "+49 170 1234567", "full_name": "Ada"}),
        )
        .await;
    assert_eq!(identities(&client, "c1").await.len(), 1);
    client.ok("users/attach-channel-grant", grant).await;
    assert_eq!(
        identities(&client, "c1").await,
        ["sms +491701234567 admin", "whatsapp +491701234567 profile"]
    );
    // Only the customer who is named loses it.
    client.upsert("c2", json!({})).await;
    let other =
        json!({"customer_user_id": "c2", "channel": "sms", "external_user_id": "+491701234567"});
    assert_eq!(client.ok("identities/unlink", other).await, nothing);
    let all = json!({"customer_user_id": "c1", "channel": "sms", "clear_profile_field": true});
    assert_eq!(
        client.ok("identities/unlink", all).await,
        json!({"unlinked": true, "revoked_grant": true, "cleared_profile_field": true})
    );
    assert_eq!(identities(&client, "c1").await, Vec::<String>::new());
    let record = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(record["user"]["profile"]["phone"], Value::Null);
    // Now somebody else may have it.
    client
        .ok("identities/link", link("c2", "sms", "+491701234567"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_must_have_a_value_is_not_cleared() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "required")
        .await
        .expect("a client");
    let mut schema = with(&[field("phone", &json!({"type": "phone", "required": true}))]);
    schema["connector_bindings"] = json!([
        {"channel": "sms", "profile_field": "phone"},
        {"channel": "line", "profile_field": "customer_user_id"},
    ]);
    client.ok("schema/upsert", schema).await;
    client.upsert("c1", json!({"phone": "+491701234567"})).await;
    assert_eq!(
        identities(&client, "c1").await,
        ["line c1 profile", "sms +491701234567 profile"]
    );
    for (channel, name) in [("sms", "phone"), ("line", "customer_user_id")] {
        let members =
            json!({"customer_user_id": "c1", "channel": channel, "clear_profile_field": true});
        let detail = client
            .refused("identities/unlink", members, 409, "profile_field_required")
            .await;
        assert_eq!(detail["field"], name);
    }
    assert_eq!(identities(&client, "c1").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_follow_the_bound_values() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "following").await;
    client.upsert("c1", json!({"phone": "0170 1234567"})).await;
    let grant = json!({"customer_user_id": "c1", "channel": "sms", "agents": ["sales"]});
    client.ok("users/attach-channel-grant", grant).await;
    let taken = json!({"customer_user_id": "c2", "profile": {"phone": "0170 1234567"}});
    let detail = client
        .refused(
            "users/upsert",
            taken.clone(),
            409,
            "identity_linked_elsewhere",
        )
        .await;
    assert_eq!(detail["customer_user_id"], "c1");
    let bulk = client
        .ok("users/upsert-bulk", json!({"items": [taken]}))
        .await;
    assert_eq!(
        bulk["items"][0]["error"]["code"], "identity_linked_elsewhere",
        "{bulk}"
    );

    client.upsert("c1", json!({"phone": "0170 7654321"})).await;
    assert_eq!(
        identities(&client, "c1").await,
        [
            "sms +491707654321 profile",
            "whatsapp +491707654321 profile"
        ]
    );
    let access = client
        .ok(
            "users/channel-access/list",
            json!({"customer_user_id": "c1"}),
        )
        .await;
    let sms = &access["items"][0];
    assert_eq!(
        (
            &sms["channel"],
            &sms["grant"]["status"],
            &sms["grant"]["source"]
        ),
        (&json!("sms"), &json!("active"), &json!("specific")),
        "{access}"
    );
    // The old number is free, and a cleared value ends link and grant.
    client.upsert("c2", json!({"phone": "0170 1234567"})).await;
    client.upsert("c1", json!({"phone": null})).await;
    assert_eq!(identities(&client, "c1").await, Vec::<String>::new());
    let access = client
        .ok(
            "users/channel-access/list",
            json!({"customer_user_id": "c1"}),
        )
        .await;
    assert_eq!(access["items"][0]["grant"]["status"], "none", "{access}");
    assert_eq!(identities(&client, "c2").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_rows_link_their_bound_values() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "importing").await;
    client
        .upsert("taken", json!({"phone": "+491700000009"}))
        .await;
    let csv = "customer_user_id,phone\n\
               a,0170 0000001\n\
               b,0170 0000002\n\
               c,0170 0000009\n\
               d,+49 170 0000001\n\
               a,0170 0000003\n\
               e,0170 0000001\n";
    let import = client.ok("users/import-csv", json!({"csv": csv})).await;
    let counts = ["created", "updated", "failed"].map(|name| import[name].as_i64());
    assert_eq!(counts, [3, 1, 2].map(Some), "{import}");
    let errors = client
        .post(
            "users/imports/errors",
            json!({"import_id": import["import_id"]}),
        )
        .await
        .text();
    assert_eq!(
        errors.matches("another customer has this value").count(),
        2,
        "{errors}"
    );
    for (id, number) in [
        ("a", "+491700000003"),
        ("b", "+491700000002"),
        ("e", "+491700000001"),
    ] {
        let expected = ["sms", "whatsapp"].map(|channel| format!("{channel} {number} profile"));
        assert_eq!(identities(&client, id).await, expected);
    }
    // Two people exchange their numbers in one file, and the same file again changes nothing.
    let csv = "customer_user_id,phone\na,\nb,0170 0000003\na,0170 0000002\n";
    let import = client.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(
        (&import["updated"], &import["failed"]),
        (&json!(3), &json!(0)),
        "{import}"
    );
    assert_eq!(
        identities(&client, "a").await[0],
        "sms +491700000002 profile"
    );
    assert_eq!(
        identities(&client, "b").await[0],
        "sms +491700000003 profile"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_identities_are_listed_searched_and_walked() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "listing").await;
    for (id, phone) in [
        ("Ada", "+491701111111"),
        ("Bob", "+491702222222"),
        ("Cy", "+331701111111"),
    ] {
        client.upsert(id, json!({"phone": phone})).await;
    }
    client
        .ok("identities/link", link("Ada", "telegram", "@ÉVA_Líne"))
        .await;
    let all = client.ok("identities/list-all", json!({})).await;
    assert_eq!(
        (&all["total"], &all["next_cursor"]),
        (&json!(7), &Value::Null)
    );
    let found = async |members: Value| {
        let list = client.ok("identities/list-all", members).await;
        assert_eq!(
            list["total"].as_i64(),
            list["items"]
                .as_array()
                .and_then(|items| i64::try_from(items.len()).ok())
        );
        ids(&list)
    };
    assert_eq!(found(json!({"channel": "SMS"})).await, ["Cy", "Ada", "Bob"]);
    for (search, channel, expected) in [
        ("1111", "sms", vec!["Cy", "Ada"]),
        ("49170", "sms", vec!["Ada", "Bob"]),
        ("49", "sms", vec!["Ada", "Bob"]),
        ("+3", "sms", vec!["Cy"]),
        ("BO", "whatsapp", vec!["Bob"]),
        ("ob", "sms", vec![]),
        ("eva_line", "telegram", vec!["Ada"]),
        ("ada", "sms", vec!["Ada"]),
        ("_", "telegram", vec![]),
        ("%%%", "sms", vec![]),
    ] {
        let members = json!({"search": search, "channel": channel});
        assert_eq!(found(members).await, expected, "{search}");
    }
    let mut walked = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let members = json!({"page_size": 3, "cursor": cursor});
        let page = client.ok("identities/list-all", members).await;
        walked.extend(page["items"].as_array().expect("items").clone());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(json!(walked), all["items"]);
    let second = client
        .ok("identities/list-all", json!({"page": 2, "page_size": 3}))
        .await;
    assert_eq!(
        second["items"].as_array().map(Vec::as_slice),
        Some(&walked[3..6])
    );
    let first = client
        .ok("identities/list-all", json!({"page_size": 3}))
        .await;
    for (members, status, code) in [
        (json!({"cursor": "nonsense"}), 422, "invalid_cursor"),
        (
            json!({"cursor": first["next_cursor"], "channel": "sms"}),
            422,
            "invalid_cursor",
        ),
    ] {
        client
            .refused("identities/list-all", members, status, code)
            .await;
    }
    for (members, place) in [
        (json!({"channel": "fax"}), "body.channel"),
        (json!({"page_size": 201}), "body.page_size"),
        (json!({"search": "x".repeat(201)}), "body.search"),
    ] {
        client.invalid("identities/list-all", members, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_customer_leaves_no_links_and_a_returning_one_has_none() {
    let server = Server::start().await.expect("a server");
    let client = bound_project(&server, "erasing").await;
    client.upsert("c1", json!({"phone": "0170 1234567"})).await;
    for channel in ["line", "telegram"] {
        let grant = json!({"customer_user_id": "c1", "channel": channel, "external_user_id": "U1", "agents": ["*"]});
        client.ok("users/attach-channel-grant", grant).await;
    }
    client
        .ok(
            "identities/unlink",
            json!({"channel": "telegram", "external_user_id": "U1"}),
        )
        .await;
    let deleted = client
        .ok(
            "users/delete",
            json!({"customer_user_id": "c1", "suppress": true}),
        )
        .await;
    assert_eq!(
        deleted["revoked"],
        json!({"links": 3, "grants": 1}),
        "{deleted}"
    );
    assert_eq!(
        client.ok("identities/list-all", json!({})).await["total"],
        0
    );
    client.upsert("c1", json!({})).await;
    assert_eq!(identities(&client, "c1").await, Vec::<String>::new());
    // What was the person's is free.
    client.upsert("c2", json!({"phone": "0170 1234567"})).await;
    client
        .ok("identities/link", link("c2", "telegram", "U1"))
        .await;
    let nobody = client.with_credential(Credential::None);
    nobody
        .refused(
            "identities/link",
            link("c2", "line", "U1"),
            401,
            "unauthenticated",
        )
        .await;
}
