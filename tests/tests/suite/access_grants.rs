//! Grants: which agents a customer may use on a channel.

use roster_tests::client::Client;
use roster_tests::server::Server;
use serde_json::{Value, json};

fn grant(customer_user_id: &str, channel: &str, agents: &[&str]) -> Value {
    json!({"customer_user_id": customer_user_id, "channel": channel, "agents": agents})
}

fn with(mut members: Value, name: &str, value: impl Into<Value>) -> Value {
    members[name] = value.into();
    members
}

/// The rows of a customer by channel; `users/get` shows the same.
async fn access(client: &Client, customer_user_id: &str) -> Vec<Value> {
    let members = json!({"customer_user_id": customer_user_id});
    let rows = client
        .ok("users/channel-access/list", members.clone())
        .await["items"]
        .clone();
    assert_eq!(
        client.ok("users/get", members).await["channel_access"],
        rows
    );
    rows.as_array().expect("rows").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_links_through_the_profile_and_is_shown_at_once() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "attaching")
        .await
        .expect("a client");
    client.upsert("c1", json!({})).await;
    let members = with(
        grant("c1", "Telegram", &["Sales", "SALES", " support "]),
        "external_user_id",
        "@Ada",
    );
    let row = client
        .ok("users/attach-channel-grant", members.clone())
        .await;
    assert!(row["linked_at"].is_string());
    let expected = json!({
        "channel": "telegram", "connector_enabled": true, "profile_field": "telegram_primary_key",
        "connector_value": "@ada", "linked": true, "external_user_id": "@ada", "linked_by": "admin",
        "linked_at": row["linked_at"], "effective_enabled": true,
        "grant": {"status": "active", "agents": ["Sales", "support"], "expires_at": null, "source": "specific"},
    });
    assert_eq!(row, expected);
    assert_eq!(access(&client, "c1").await, std::slice::from_ref(&expected));
    let head = client.head().await;
    assert_eq!(
        client.ok("users/attach-channel-grant", members).await,
        expected
    );
    assert_eq!(
        client.head().await,
        head,
        "the same grant again is no event"
    );
    let record = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(record["user"]["profile"]["telegram_primary_key"], "@ada");

    // Without an identity the bound value is used, and the terms are set as a whole.
    let members = with(grant("c1", "telegram", &["*"]), "enabled", false);
    let row = client.ok("users/attach-channel-grant", members).await;
    assert_eq!(
        (
            &row["grant"]["status"],
            &row["grant"]["agents"],
            &row["effective_enabled"]
        ),
        (&json!("disabled"), &json!(["*"]), &json!(false))
    );
    let members = with(
        grant("c1", "telegram", &["*"]),
        "expires_at",
        "2020-01-01T00:00:00Z",
    );
    let row = client.ok("users/attach-channel-grant", members).await;
    assert_eq!(
        (&row["grant"]["status"], &row["effective_enabled"]),
        (&json!("expired"), &json!(false))
    );
    // Another identity takes the place of the first.
    let members = with(
        grant("c1", "telegram", &["*"]),
        "external_user_id",
        "@ada_new",
    );
    client.ok("users/attach-channel-grant", members).await;
    let list = client
        .ok("identities/list", json!({"customer_user_id": "c1"}))
        .await;
    let items = list["items"].as_array().expect("items");
    assert_eq!(
        (items.len(), &items[0]["external_user_id"]),
        (1, &json!("@ada_new"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_is_refused() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "refusing")
        .await
        .expect("a client");
    client.upsert("c1", json!({})).await;
    client
        .upsert("c2", json!({"email": "two@example.org"}))
        .await;
    let route = "users/attach-channel-grant";
    let line = |id: &str| with(grant("c1", "line", &["*"]), "external_user_id", id);
    for (members, place) in [
        (grant("c1", "line", &["*"]), "body.external_user_id"),
        (grant("c1", "fax", &["*"]), "body.channel"),
        (grant("c1", "line", &[]), "body.agents"),
        (grant("c1", "line", &[" "]), "body.agents"),
        (line("*"), "body.external_user_id"),
        (
            with(grant("c1", "sms", &["*"]), "external_user_id", "ada"),
            "body.external_user_id",
        ),
        (
            json!({"channel": "line", "external_user_id": "U1", "agents": ["*"]}),
            "body.customer_user_id",
        ),
        (
            json!({"channel": "line", "agents": ["*"]}),
            "body.customer_user_id",
        ),
        (
            with(line("U1"), "expires_at", "2030-01-01T00:00:00"),
            "body.expires_at",
        ),
    ] {
        client.invalid(route, members, place).await;
    }
    let nobody = with(grant("nobody", "line", &["*"]), "external_user_id", "U1");
    client
        .refused(route, nobody, 404, "customer_not_found")
        .await;
    client.ok(route, line("U1")).await;
    let taken = with(grant("c2", "line", &["*"]), "external_user_id", "U1");
    let detail = client
        .refused(route, taken, 409, "identity_linked_elsewhere")
        .await;
    assert_eq!(detail["customer_user_id"], "c1");

    // A value of a unique field is another customer's, and the primary key is no identity that could be exchanged.
    let schema = json!({
        "primary_key": "customer_user_id",
        "fields": [
            {"name": "customer_user_id", "required": true, "unique": true},
            {"name": "email", "type": "email", "unique": true},
        ],
        "connector_bindings": [
            {"channel": "email", "profile_field": "email"},
            {"channel": "discord", "profile_field": "customer_user_id"},
        ],
    });
    client.ok("schema/upsert", schema).await;
    let taken = with(
        grant("c1", "email", &["*"]),
        "external_user_id",
        "Two@example.org",
    );
    let detail = client
        .refused(route, taken, 409, "unique_value_taken")
        .await;
    assert_eq!(
        (&detail["field"], &detail["customer_user_id"]),
        (&json!("email"), &json!("c2"))
    );
    let other = with(grant("c1", "discord", &["*"]), "external_user_id", "c9");
    client
        .refused(route, other, 409, "primary_key_mismatch")
        .await;
    let own = client.ok(route, grant("c1", "discord", &["*"])).await;
    assert_eq!(own["external_user_id"], "c1");

    for (members, code) in [
        (
            json!({"customer_user_id": "c2", "channel": "line"}),
            "grant_not_found",
        ),
        (
            json!({"customer_user_id": "nobody", "channel": "line"}),
            "customer_not_found",
        ),
        (
            json!({"channel": "line", "external_user_id": "*"}),
            "grant_not_found",
        ),
    ] {
        client
            .refused("users/revoke-channel-grant", members, 404, code)
            .await;
    }
    for (members, place) in [
        (json!({"channel": "line"}), "body.customer_user_id"),
        (
            json!({"customer_user_id": "c1", "channel": "fax"}),
            "body.channel",
        ),
        (
            json!({"customer_user_id": "c1", "channel": "line", "external_user_id": "U1"}),
            "body.external_user_id",
        ),
        (
            json!({"channel": "line", "external_user_id": "U1"}),
            "body.customer_user_id",
        ),
    ] {
        client
            .invalid("users/revoke-channel-grant", members, place)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wildcard_decides_where_nobody_else_does() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "wildcards")
        .await
        .expect("a client");
    let everybody = json!({"channel": "LINE", "external_user_id": "*", "agents": ["concierge"]});
    let row = client
        .ok("users/attach-channel-grant", everybody.clone())
        .await;
    assert_eq!(
        (
            &row["channel"],
            &row["external_user_id"],
            &row["linked"],
            &row["grant"]["source"]
        ),
        (
            &json!("line"),
            &json!("*"),
            &json!(false),
            &json!("wildcard")
        ),
        "{row}"
    );
    client.upsert("c1", json!({})).await;
    assert_eq!(access(&client, "c1").await, Vec::<Value>::new());
    let members = json!({"customer_user_id": "c1", "channel": "line", "external_user_id": "U1"});
    client.ok("identities/link", members).await;
    let decided = async || {
        let row = &access(&client, "c1").await[0];
        let agents = row["grant"]["agents"].clone();
        (
            row["grant"]["source"].clone(),
            agents,
            row["effective_enabled"].clone(),
        )
    };
    assert_eq!(
        decided().await,
        (json!("wildcard"), json!(["concierge"]), json!(true))
    );
    // A grant of one's own takes its place and does not add to it; a deny wins; an expired one is none.
    let own = with(grant("c1", "line", &["sales"]), "external_user_id", "U1");
    client.ok("users/attach-channel-grant", own.clone()).await;
    assert_eq!(
        decided().await,
        (json!("specific"), json!(["sales"]), json!(true))
    );
    client
        .ok(
            "users/attach-channel-grant",
            with(own.clone(), "enabled", false),
        )
        .await;
    assert_eq!(
        decided().await,
        (json!("specific"), json!(["sales"]), json!(false))
    );
    client
        .ok(
            "users/attach-channel-grant",
            with(own, "expires_at", "2020-01-01T00:00:00Z"),
        )
        .await;
    assert_eq!(
        decided().await,
        (json!("wildcard"), json!(["concierge"]), json!(true))
    );

    let revoke = json!({"customer_user_id": "c1", "channel": "line"});
    let revoked = client
        .ok("users/revoke-channel-grant", revoke.clone())
        .await;
    assert_eq!(
        revoked,
        json!({"revoked": true, "customer_user_id": "c1", "channel": "line"})
    );
    client
        .refused("users/revoke-channel-grant", revoke, 404, "grant_not_found")
        .await;
    assert_eq!(
        decided().await,
        (json!("wildcard"), json!(["concierge"]), json!(true))
    );
    let revoke = json!({"channel": "line", "external_user_id": "*"});
    client
        .ok("users/revoke-channel-grant", revoke.clone())
        .await;
    client
        .refused("users/revoke-channel-grant", revoke, 404, "grant_not_found")
        .await;
    assert_eq!(decided().await, (Value::Null, json!([]), json!(false)));
    client.ok("users/attach-channel-grant", everybody).await;
    assert_eq!(
        decided().await,
        (json!("wildcard"), json!(["concierge"]), json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_and_a_customer_are_switched_without_losing_grants() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "switching")
        .await
        .expect("a client");
    client
        .upsert("c1", json!({"email": "ada@example.org"}))
        .await;
    let members = with(grant("c1", "line", &["*"]), "external_user_id", "U1");
    client.ok("users/attach-channel-grant", members).await;
    let switch =
        |enabled: bool| json!({"customer_user_id": "c1", "channel": "Line", "enabled": enabled});
    let record = client
        .ok("users/set-connector-enabled", switch(false))
        .await;
    assert_eq!(
        (
            &record["connector_enabled"],
            &record["version"],
            &record["profile"]["email"]
        ),
        (
            &json!({"line": false}),
            &json!(3),
            &json!("ada@example.org")
        ),
        "{record}"
    );
    let again = client
        .ok("users/set-connector-enabled", switch(false))
        .await;
    assert_eq!(again, record);
    let state = async || {
        let row = &access(&client, "c1").await[0];
        (
            row["grant"]["status"].clone(),
            row["connector_enabled"].clone(),
            row["effective_enabled"].clone(),
        )
    };
    assert_eq!(state().await, (json!("active"), json!(false), json!(false)));
    client.ok("users/set-connector-enabled", switch(true)).await;
    assert_eq!(state().await, (json!("active"), json!(true), json!(true)));
    for (enabled, effective) in [(false, false), (true, true)] {
        client
            .ok(
                "users/upsert",
                json!({"customer_user_id": "c1", "enabled": enabled}),
            )
            .await;
        assert_eq!(
            state().await,
            (json!("active"), json!(true), json!(effective))
        );
    }
    client
        .refused(
            "users/set-connector-enabled",
            json!({"customer_user_id": "nobody", "channel": "line", "enabled": true}),
            404,
            "customer_not_found",
        )
        .await;
    for (members, place) in [
        (
            json!({"customer_user_id": "c1", "channel": "fax", "enabled": true}),
            "body.channel",
        ),
        (
            json!({"customer_user_id": "c1", "channel": "line"}),
            "body.enabled",
        ),
    ] {
        client
            .invalid("users/set-connector-enabled", members, place)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_tells_links_and_grants() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "past").await.expect("a client");
    client.upsert("c1", json!({})).await;
    let attach = with(grant("c1", "line", &["sales"]), "external_user_id", "U1");
    let then = client
        .post("users/attach-channel-grant", attach)
        .await
        .position();
    let unlink = json!({"channel": "line", "external_user_id": "U1"});
    client.ok("identities/unlink", unlink).await;

    let whom = json!({"customer_user_id": "c1"});
    let history = client.ok("users/history", whom.clone()).await;
    let items = history["items"].as_array().expect("items");
    let told: Vec<(&Value, &Value)> = items
        .iter()
        .map(|item| (&item["type"], &item["changes"]))
        .collect();
    let change =
        |field: &str, old: Value, new: Value| json!({"field": field, "old": old, "new": new});
    let (nothing, id) = (Value::Null, json!("U1"));
    assert_eq!(
        told[..3],
        [
            (
                &json!("customer.identity_unlinked"),
                &json!([
                    change("identities.line", id.clone(), nothing.clone()),
                    change("grants.line", json!("sales"), nothing.clone()),
                ])
            ),
            (
                &json!("customer.grant_set"),
                &json!([change("grants.line", nothing.clone(), json!("sales"))])
            ),
            (
                &json!("customer.identity_linked"),
                &json!([change("identities.line", nothing, id)])
            ),
        ]
    );
    let past = with(whom.clone(), "as_of", then);
    let past = client.ok("users/get", past).await;
    assert_eq!(past["identities"][0]["external_user_id"], "U1", "{past}");
    assert_eq!(past["channel_access"][0]["grant"]["status"], "active");
    let export = client.ok("users/person-export", whom).await;
    assert_eq!(
        (&export["identities"], &export["channel_access"]),
        (&json!([]), &json!([]))
    );
}
