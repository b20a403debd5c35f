//! Identities that are seen and nobody's: listed, suggested, dismissed, linked, forgotten.

use chrono::DateTime;
use roster_commands::{Limits, SchemaInput};
use roster_domain::access::ConnectorIdentity;
use roster_domain::schema::Definition;
use roster_store::unmatched::{Seen, SeenAgain, Sighting};
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::Executor;

fn schema(auto_match: bool) -> Value {
    let mut schema = with(&[
        field("full_name", &json!({})),
        field("email", &json!({"type": "email", "unique": true})),
        field("phone", &json!({"type": "phone", "unique": true})),
    ]);
    schema["auto_match"] = json!(auto_match);
    schema["match_rules"] = json!([
        {"channel": "whatsapp", "field": "phone"},
        {"channel": "*", "field": "email", "source": "connector.email"},
    ]);
    schema
}

async fn start(auto_match: bool) -> (Server, Client) {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.ok("schema/upsert", schema(auto_match)).await;
    (server, client)
}

async fn see(client: &Client, channel: &str, id: &str, facts: Value) -> Value {
    let sighting = json!({"channel": channel, "external_user_id": id, "facts": facts});
    client.ok("identities/resolve", sighting).await
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .filter_map(|item| item["external_user_id"].as_str())
        .collect()
}

/// The list, once it has these identities.
async fn listed(client: &Client, filter: &Value, expected: &[&str]) -> Value {
    until("the list to follow", async || {
        let list = client.ok("unmatched/list", filter.clone()).await;
        (ids(&list) == expected).then_some(list)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_unknown_lands_in_unmatched_with_what_the_channel_told() {
    let (_server, client) = start(true).await;
    let facts = json!({"phone": "0049 170 1234567", "email": "Eve@Example.ORG", "username": "@eve", "display_name": " Eve "});
    for _ in 0..3 {
        let answer = see(&client, "telegram", "4711", facts.clone()).await;
        assert_eq!(answer["matched"], false);
    }
    let list = listed(&client, &json!({}), &["4711"]).await;
    let item = &list["items"][0];
    assert_eq!(
        (&item["channel"], &item["display_name"]),
        (&json!("telegram"), &json!("Eve"))
    );
    assert_eq!(
        item["facts"],
        json!({"phone": "+491701234567", "email": "eve@example.org", "username": "@eve"})
    );
    // The first is written at once, later ones within a minute.
    assert_eq!(item["seen_count"], 1);
    assert_eq!(item["first_seen_at"], item["last_seen_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_gathered_is_written_when_the_server_stops() {
    let (mut server, client) = start(true).await;
    for _ in 0..5 {
        see(&client, "line", "U-1", json!({})).await;
    }
    listed(&client, &json!({}), &["U-1"]).await;
    assert!(server.stop().await.expect("a stop").success());
    server.restart().await.expect("a start");
    let list = client.at(&server).ok("unmatched/list", json!({})).await;
    assert_eq!(list["items"][0]["seen_count"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn sightings_of_one_identity_are_one_row_and_whose_row_went_is_told() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "only", Limits::default()).await;
    let node = node.expect("a node");
    let cell = node.cell();
    let (ctx, saved) = (
        Node::context("p"),
        SchemaInput {
            definition: Definition::default(),
            expected_version: None,
        },
    );
    let saved = node.directory.upsert_schema(&ctx, saved).await;
    saved.expect("a schema");
    let project = cell.project(&ctx.scope).await;
    let project = project.expect("a look-up").expect("the project");
    let key = |id: &str| {
        let identity = ConnectorIdentity::read("line", id).expect("an identity");
        project.identity_key(&identity)
    };
    let time = |seconds: i64| DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time");
    let sighting = |id: &str, name: &str, seconds, count| {
        let seen = Seen {
            external_user_id: id.to_owned(),
            display_name: Some(name.to_owned()),
            ..Seen::default()
        };
        let times = (time(seconds), time(seconds));
        Sighting::new(&project, "line", key(id), &seen, times, count).expect("it is sealed")
    };
    let batch = [
        sighting("U-2", "first", 1, 1),
        sighting("U-1", "only", 2, 1),
        sighting("U-2", "second", 3, 4),
    ];
    let batch = Sighting::merged(batch);
    assert_eq!(cell.write_unmatched(&batch, 10).await.expect("rows"), 2);
    let rows = cell.unmatched(&project, None, None, 0, 10).await;
    let shown: Vec<(String, String, i64, i64)> = rows
        .expect("rows")
        .into_iter()
        .map(|row| {
            let took = row.last_seen_at - row.first_seen_at;
            (
                row.seen.external_user_id,
                row.seen.display_name.unwrap_or_default(),
                row.seen_count,
                took.num_seconds(),
            )
        })
        .collect();
    let row = |id: &str, name: &str, count, took| (id.to_owned(), name.to_owned(), count, took);
    assert_eq!(
        shown,
        [row("U-2", "second", 5, 2), row("U-1", "only", 1, 0)]
    );
    let again = |id| SeenAgain {
        project_no: project.no,
        identity_key: key(id),
        last_seen_at: time(9),
        count: 1,
    };
    let gone = cell.move_unmatched(&[again("U-1"), again("U-gone")]).await;
    assert_eq!(gone.expect("rows"), [(project.no, key("U-gone"))]);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_newest_first_and_searched() {
    let (_server, client) = start(true).await;
    for (channel, id, name) in [
        ("line", "U-1", "Érika"),
        ("sms", "+49 170 1234567", "Max"),
        ("line", "U-2", "Zoë"),
    ] {
        see(&client, channel, id, json!({"display_name": name})).await;
        until("it to be listed", async || {
            let list = client.ok("unmatched/list", json!({})).await;
            ids(&list)
                .contains(&id.replace(' ', "").as_str())
                .then_some(())
        })
        .await;
    }
    for (filter, expected) in [
        (json!({}), &["U-2", "+491701234567", "U-1"][..]),
        (json!({"channel": "LINE"}), &["U-2", "U-1"][..]),
        (json!({"search": "erika"}), &["U-1"][..]),
        (json!({"search": "170123"}), &["+491701234567"][..]),
        (json!({"search": "u-"}), &["U-2", "U-1"][..]),
        (json!({"search": "u-", "channel": "sms"}), &[][..]),
        (json!({"search": "nobody"}), &[][..]),
    ] {
        let list = client.ok("unmatched/list", filter.clone()).await;
        assert_eq!(ids(&list), expected, "{filter}");
        assert_eq!(list["total"], expected.len(), "{filter}");
        // One by one, by cursor and by page.
        let mut walked = Vec::new();
        let mut one = filter.clone();
        one["page_size"] = json!(1);
        for page in 1..=expected.len() {
            let list = client.ok("unmatched/list", one.clone()).await;
            let mut by_page = filter.clone();
            by_page["page_size"] = json!(1);
            by_page["page"] = json!(page);
            assert_eq!(
                client.ok("unmatched/list", by_page).await["items"],
                list["items"]
            );
            walked.extend(ids(&list).into_iter().map(str::to_owned));
            one["cursor"] = list["next_cursor"].clone();
        }
        assert_eq!(walked, expected, "{filter}");
    }
    client
        .refused(
            "unmatched/list",
            json!({"cursor": "x"}),
            422,
            "invalid_cursor",
        )
        .await;
    client
        .invalid(
            "unmatched/list",
            json!({"search": "x".repeat(201)}),
            "body.search",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_suggest_whom_they_do_not_link() {
    let (_server, client) = start(false).await;
    client
        .upsert(
            "ada",
            json!({"phone": "+49 170 1234567", "email": "ada@example.org"}),
        )
        .await;
    let answer = see(&client, "whatsapp", "+49 170 1234567", json!({})).await;
    assert_eq!(
        (&answer["customer"]["customer_user_id"], &answer["via"]),
        (&json!("ada"), &json!("rule"))
    );
    let list = listed(&client, &json!({}), &["+491701234567"]).await;
    let suggestions = list["items"][0]["suggestions"]
        .as_array()
        .expect("suggestions");
    assert_eq!(suggestions.len(), 1);
    assert_eq!(
        (
            &suggestions[0]["customer_user_id"],
            &suggestions[0]["field"]
        ),
        (&json!("ada"), &json!("phone"))
    );
    // Somebody who comes later is suggested too.
    see(
        &client,
        "line",
        "U-bob",
        json!({"email": "bob@example.org"}),
    )
    .await;
    let list = listed(&client, &json!({"channel": "line"}), &["U-bob"]).await;
    assert_eq!(list["items"][0]["suggestions"], json!([]));
    client
        .upsert("bob", json!({"email": "bob@example.org"}))
        .await;
    let list = client
        .ok("unmatched/list", json!({"channel": "line"}))
        .await;
    assert_eq!(
        list["items"][0]["suggestions"][0]["customer_user_id"],
        "bob"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_linking_takes_the_row_away() {
    let (_server, client) = start(true).await;
    for (channel, id) in [
        ("line", "U-hand"),
        ("line", "U-grant"),
        ("line", "U-dismiss"),
        ("whatsapp", "+491701234567"),
    ] {
        see(&client, channel, id, json!({})).await;
    }
    until("all to be listed", async || {
        (client.ok("unmatched/list", json!({})).await["total"] == 4).then_some(())
    })
    .await;
    client
        .upsert("ada", json!({"phone": "+49 170 1234567"}))
        .await;
    let link = json!({"channel": "line", "external_user_id": "U-hand", "customer_user_id": "ada"});
    client.ok("identities/link", link).await;
    let grant = json!({"customer_user_id": "ada", "channel": "line", "external_user_id": "U-grant", "agents": ["a"]});
    client.ok("users/attach-channel-grant", grant).await;
    // The rule links.
    assert_eq!(
        see(&client, "whatsapp", "+491701234567", json!({})).await["via"],
        "rule"
    );
    let list = client.ok("unmatched/list", json!({})).await;
    assert_eq!(ids(&list), ["U-dismiss"]);
    let dismiss = json!({"channel": "Line", "external_user_id": " U-dismiss "});
    assert_eq!(
        client.ok("unmatched/dismiss", dismiss.clone()).await["dismissed"],
        true
    );
    assert_eq!(
        client.ok("unmatched/dismiss", dismiss).await["dismissed"],
        false
    );
    assert_eq!(client.ok("unmatched/list", json!({})).await["total"], 0);
    // Seen again, it is there again; and whom nobody has any more is nobody's.
    see(&client, "line", "U-dismiss", json!({})).await;
    listed(&client, &json!({}), &["U-dismiss"]).await;
    let unlink = json!({"channel": "line", "external_user_id": "U-hand"});
    client.ok("identities/unlink", unlink).await;
    assert_eq!(
        see(&client, "line", "U-hand", json!({})).await["matched"],
        false
    );
    listed(&client, &json!({}), &["U-hand", "U-dismiss"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_is_not_left_among_the_unmatched() {
    let (_server, client) = start(false).await;
    client
        .upsert(
            "ada",
            json!({"phone": "+49 170 1234567", "email": "ada@example.org", "full_name": "Ada"}),
        )
        .await;
    let link = json!({"channel": "line", "external_user_id": "U-ada", "customer_user_id": "ada"});
    client.ok("identities/link", link).await;
    client
        .ok(
            "identities/unlink",
            json!({"channel": "line", "external_user_id": "U-ada"}),
        )
        .await;
    // By her number, by an address that the channel told, and by an identity that was hers.
    see(&client, "whatsapp", "+49 170 1234567", json!({})).await;
    see(
        &client,
        "telegram",
        "4711",
        json!({"email": "ADA@example.org"}),
    )
    .await;
    see(&client, "line", "U-ada", json!({})).await;
    // Somebody else who is called the same stays.
    let eve = json!({"email": "eve@example.org", "display_name": "Ada"});
    see(&client, "line", "U-eve", eve).await;
    until("all to be listed", async || {
        (client.ok("unmatched/list", json!({})).await["total"] == 4).then_some(())
    })
    .await;
    client
        .ok("users/delete", json!({"customer_user_id": "ada"}))
        .await;
    let list = client.ok("unmatched/list", json!({})).await;
    assert_eq!(ids(&list), ["U-eve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_not_seen_for_ninety_days_is_forgotten() {
    let (mut server, client) = start(true).await;
    let mut connection = server.database().superuser().await.expect("a connection");
    let mut listed_so_far = Vec::new();
    for (id, days) in [("U-old", 91), ("U-young", 1), ("U-new", 0)] {
        see(&client, "line", id, json!({})).await;
        listed_so_far.insert(0, id);
        listed(&client, &json!({}), &listed_so_far).await;
        let aged = format!(
            "UPDATE log_unmatched SET last_seen_at = last_seen_at - interval '{days} days'"
        );
        connection.execute(aged.as_str()).await.expect("aged");
    }
    server.restart().await.expect("a start");
    listed(&client.at(&server), &json!({}), &["U-new", "U-young"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_as_many_rows_as_it_may() {
    let settings = [("ROSTER_UNMATCHED__MOST", "3")];
    let server = Server::start_with(&settings).await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.ok("schema/upsert", schema(true)).await;
    let others = Client::of_project(&server, "q").await.expect("a client");
    others.ok("schema/upsert", schema(true)).await;
    for number in 0..3 {
        see(&client, "line", &format!("U-{number}"), json!({})).await;
    }
    until("three to be listed", async || {
        (client.ok("unmatched/list", json!({})).await["total"] == 3).then_some(())
    })
    .await;
    for number in 3..10 {
        see(&client, "line", &format!("U-{number}"), json!({})).await;
    }
    see(&others, "line", "U-other", json!({})).await;
    // It is written after all of those.
    listed(&others, &json!({}), &["U-other"]).await;
    assert_eq!(client.ok("unmatched/list", json!({})).await["total"], 3);
    let metrics = client.get("/metrics").await.text();
    assert!(
        metrics.contains("roster_unmatched_held_back_total{why=\"full\"} 7"),
        "{metrics}"
    );
}
