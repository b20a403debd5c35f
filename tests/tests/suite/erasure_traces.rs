//! An erased person is in no place that outlives the request: database, statistics, logs, files, the bus, memory.

use async_nats::jetstream;
use roster_tests::client::Client;
use roster_tests::cluster::cluster;
use roster_tests::database::Database;
use roster_tests::server::Server;
use roster_tests::traces::{Found, find};
use roster_tests::until::until;
use serde_json::json;
use sqlx::{Connection, Executor};

/// Of the people who are erased: ids, names, addresses, numbers, external ids and free fields; what a dispatch and a sighting told.
const ERASED: [&str; 15] = [
    "traced-person-Ünï-0001",
    "Ingrid Spürbär-Nachweiß",
    "Ingrid.Traced@Example-Traces.org",
    "+49 170 5550211",
    "+491705550211",
    "external-traced-4711",
    "Freies Feld mit Spürên",
    "traced-import-0002",
    "Ímported Trâced Pérson",
    "imported.traced@example-traces.org",
    "failed.traced@example-traces.org",
    "traced-identity-9001",
    "traced-run-9002",
    "Vom Modëll Gesagtes 9003",
    "Gesehen als Spürname 9004",
];
/// So many are purged, of whom 120 values are planted.
const PURGED: usize = 20;
/// Of somebody who stays.
const STAYS: &str = "Cöntrol Trâced Person Who Stays";
/// Planted on the bus and in a table.
const PLANTED: &str = "Plänted.Control@Example-Traces.org";
/// What a ledger says.
const LEDGER: &str = "\"what\":\"erased\"";
/// What a server logs.
const LOG: &str = "runs here";

async fn plant_on_bus(stream: &str) -> jetstream::Context {
    let client = async_nats::connect(&cluster().nats_url)
        .await
        .expect("the bus");
    let bus = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: stream.into(),
        subjects: vec![stream.into()],
        ..jetstream::stream::Config::default()
    };
    bus.create_stream(config).await.expect("a stream");
    let published = bus.publish(stream.to_owned(), PLANTED.into()).await;
    published.expect("sent").await.expect("kept");
    bus
}

async fn plant_in_table(database: &Database) {
    let mut connection = database.superuser().await.expect("a connection");
    connection
        .execute("CREATE TABLE public.planted (value text)")
        .await
        .expect("a table");
    sqlx::query("INSERT INTO public.planted SELECT $1 FROM generate_series(1, 10)")
        .bind(PLANTED)
        .execute(&mut connection)
        .await
        .expect("a row");
    connection.execute("ANALYZE").await.expect("statistics");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_left_nowhere() {
    let mut server = Server::start_with(&[("ROSTER_LOG__LEVEL", "debug")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "traces")
        .await
        .expect("a client");
    let [
        id,
        name,
        email,
        phone,
        _,
        external,
        free,
        imported,
        imported_name,
        imported_email,
        failed,
        identity,
        run,
        said,
        seen_as,
    ] = ERASED;
    let profile = json!({"full_name": name, "email": email, "phone": phone, "note": free});
    let tag = json!({"kind": "scim", "provider": "okta", "external_id": external});
    let members = json!({"customer_user_id": id, "profile": profile, "data_source": tag});
    client.ok("users/upsert", members).await;
    let csv =
        format!("customer_user_id,full_name,email\n{imported},{imported_name},{imported_email}\n");
    client.ok("users/import-csv", json!({"csv": csv})).await;
    let csv = format!("customer_user_id,enabled,email\n{imported},perhaps,{failed}\n");
    client.post("users/import-csv", json!({"csv": csv})).await;
    // Once while the identity is nobody's, and once when it is hers.
    for number in 0..2 {
        let dispatch = json!({
            "channel": "telegram", "external_user_id": identity, "run_id": format!("{run} {number}"),
            "facts": {"display_name": seen_as}, "agent_alias": "sales", "endpoint": "POST /orders",
            "invoker_fields": {"name": "full_name"}, "llm_fields": {"note": said},
        });
        let dispatched = client.ok("dispatches", dispatch).await;
        assert_eq!(dispatched["allowed"], number == 1, "{dispatched}");
        let grant = json!({"customer_user_id": id, "channel": "telegram", "external_user_id": identity, "agents": ["*"]});
        client.ok("users/attach-channel-grant", grant).await;
    }
    let before = find(&server, &ERASED).await.expect("a search");
    for place in ["the dump", "the memory of the server"] {
        assert!(before.contains_key(place), "{place} has them: {before:?}");
    }

    for erased in [id, imported] {
        let members = json!({"customer_user_id": erased});
        let answer = client.post("users/delete", members).await;
        let minimum = answer.header("roster-position").expect("a position");
        let reader = client.with_header("roster-min-position", minimum);
        let none: [&str; 0] = [];
        assert_eq!(reader.ids(json!({"search": erased})).await, none);
    }
    restart_and_search(&mut server, &client, &ERASED, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_were_purged_are_left_nowhere() {
    let mut server = Server::start_with(&[("ROSTER_LOG__LEVEL", "debug")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "purged-traces")
        .await
        .expect("a client");
    let people: Vec<[String; 6]> = (0..PURGED).map(person).collect();
    for [id, name, email, phone, external, free] in &people {
        let profile = json!({"full_name": name, "email": email, "phone": phone, "note": free});
        let tag = json!({"kind": "scim", "provider": "okta", "external_id": external});
        let members = json!({"customer_user_id": id, "profile": profile, "data_source": tag});
        client.ok("users/upsert", members).await;
    }
    let planted: Vec<&str> = people.iter().flatten().map(String::as_str).collect();
    assert!(planted.len() >= 100, "{} values", planted.len());
    let before = find(&server, &planted).await.expect("a search");
    for place in ["the dump", "the memory of the server"] {
        assert!(before.contains_key(place), "{place} has them: {before:?}");
    }

    let filter = json!({"data_source_provider": "okta", "expected_total": PURGED});
    let started = client.ok("users/delete-by-filter", filter).await;
    let purge = json!({"purge_id": started["purge_id"]});
    let ended = until("the purge ends", async || {
        let answer = client.post("users/purge/get", purge.clone()).await;
        let purge = (answer.status == 200).then(|| answer.ok())?;
        (!purge["finished_at"].is_null()).then_some(purge)
    })
    .await;
    assert_eq!(ended["stats"]["deleted"], PURGED, "{ended}");
    restart_and_search(&mut server, &client, &planted, PURGED).await;
}

/// Id, name, address, number, external id and free field of one of those who are purged.
fn person(number: usize) -> [String; 6] {
    [
        format!("purge-traced-Ünï-{number:04}"),
        format!("Márta Pürged-{number:04} Nachweiß"),
        format!("Marta.{number:04}@Purged-Traces.example"),
        format!("+49 171 555{number:04}"),
        format!("external-purged-{number:04}-x"),
        format!("Notiz {number:04} über Gelöschte"),
    ]
}

/// Waits until the ledger lists everybody, starts the server anew and searches every place; what stays is found there.
async fn restart_and_search(server: &mut Server, client: &Client, erased: &[&str], people: usize) {
    let ledger = server.folder().join("erasures-main.jsonl");
    until("the ledger to list everybody", async || {
        let text = std::fs::read_to_string(&ledger).unwrap_or_default();
        (text.matches("\"what\":\"erased\"").count() == people).then_some(())
    })
    .await;
    assert!(server.stop().await.expect("a stop").success());
    server.restart().await.expect("a start");
    let client = client.at(server);
    client.upsert("stays", json!({"full_name": STAYS})).await;
    plant_in_table(server.database()).await;
    let stream = format!("planted_traces_{people}");
    let bus = plant_on_bus(&stream).await;

    let controls = until("the controls to be found", async || {
        let controls = [STAYS, PLANTED, LEDGER, LOG];
        let found = find(server, &controls).await.expect("a search");
        let is_kept = cluster().nats_dir.is_none() || found.contains_key("the bus");
        is_kept.then_some(found)
    })
    .await;
    bus.delete_stream(&stream).await.expect("deleted");
    for place in [
        "the dump",
        "the statistics",
        "the log of the server",
        "the files of the server",
        "the memory of the server",
    ] {
        assert!(
            controls.contains_key(place),
            "{place} is searched: {controls:?}"
        );
    }
    let found = find(server, erased).await.expect("a search");
    assert_eq!(found, Found::new());
}
