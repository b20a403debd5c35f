//! What subscribers on NATS get: every event once and in order, whatever happens to NATS or to the servers, and nothing
//! about a person.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;

use roster_tests::bus::{Nats, Subscriber};
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::dump::Dump;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

async fn serve(database: Arc<Database>, nats: &Nats) -> Server {
    let settings = [("NATS_URL", nats.url()), ("ROSTER_NATS__RELAY", "true")];
    Server::start_on(database, &settings)
        .await
        .expect("a server")
}

async fn start(nats: &Nats) -> (Server, Client) {
    let database = Database::create().await.expect("a database");
    let server = serve(Arc::new(database), nats).await;
    let client = Client::of_project(&server, "p").await.expect("a client");
    (server, client)
}

/// New customers, one event each.
fn people(name: &str, count: usize) -> Value {
    (0..count)
        .map(|number| {
            json!({"customer_user_id": format!("{name}-{number}"), "profile": {"full_name": "Some Body"}})
        })
        .collect()
}

/// What a subscriber heard is the log: position by position.
async fn assert_whole(database: &Database, subscriber: &Subscriber) {
    let mut connection = database.superuser().await.expect("a connection");
    let log: Vec<String> =
        sqlx::query_scalar("SELECT encode(digest, 'hex') FROM log_events ORDER BY position")
            .fetch_all(&mut connection)
            .await
            .expect("the log");
    assert!(!log.is_empty());
    assert_eq!(subscriber.digests(), log);
}

async fn hear_all(nats: &Nats, database: &Database, head: i64) -> Subscriber {
    let mut subscriber = Subscriber::connect(nats).await.expect("a subscriber");
    subscriber.hear(head).await;
    assert_whole(database, &subscriber).await;
    subscriber
}

async fn bus_is(client: &Client, wanted: &str) {
    until(wanted, async || {
        let ready = client.get("/readyz").await.ok();
        (ready["bus"] == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_hears_every_event_once_though_nats_is_killed() {
    let mut nats = Nats::start().expect("NATS");
    let (server, client) = start(&nats).await;
    let mut subscriber = Subscriber::connect(&nats).await.expect("a subscriber");
    let mut head = client.upsert_all(people("before", 300)).await;
    subscriber.hear(head / 2).await;
    for round in 0..2 {
        // Killed while the relay is at work.
        let written = client.upsert_all(people(&format!("during-{round}"), 400));
        let (at, killed) = tokio::join!(written, async { nats.kill() });
        killed.expect("it was running");
        bus_is(&client, "degraded").await;
        head = client
            .upsert_all(people(&format!("away-{round}"), 50))
            .await;
        assert!(head >= at + 50, "commands go on without NATS");
        nats.restart().expect("it starts again");
        bus_is(&client, "ok").await;
        subscriber.hear(head).await;
    }
    assert_whole(server.database(), &subscriber).await;
    assert_eq!(subscriber.stream.as_deref(), Some("roster_main_1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_nats_is_filled_again() {
    let mut nats = Nats::start().expect("NATS");
    let (server, client) = start(&nats).await;
    let mut subscriber = Subscriber::connect(&nats).await.expect("a subscriber");
    let head = client.upsert_all(people("before", 400)).await;
    subscriber.hear(head).await;
    nats.kill().expect("it was running");
    nats.wipe().expect("files");
    let head = client.upsert_all(people("away", 100)).await;
    nats.restart().expect("it starts again");
    subscriber.hear(head).await;
    assert_whole(server.database(), &subscriber).await;
    hear_all(&nats, server.database(), head).await;

    let answer = server
        .command()
        .args(["relay", "republish"])
        .output()
        .expect("a command");
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(
        said.starts_with("stream roster_main_1 has "),
        "{said}{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let head = client.upsert_all(people("after", 10)).await;
    hear_all(&nats, server.database(), head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_relay_every_event_once() {
    let nats = Nats::start().expect("NATS");
    let (mut first, client) = start(&nats).await;
    let second = serve(Arc::clone(first.database()), &nats).await;
    let other = client.at(&second);
    for round in 0..5 {
        let (one, two) = (format!("one-{round}"), format!("two-{round}"));
        tokio::join!(
            client.upsert_all(people(&one, 200)),
            other.upsert_all(people(&two, 200))
        );
    }
    let head = other.head().await;
    hear_all(&nats, second.database(), head).await;
    first.kill().expect("it was running");
    let head = other.upsert_all(people("alone", 100)).await;
    hear_all(&nats, second.database(), head).await;
    bus_is(&other, "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_names_its_tenant_its_event_and_what_changed() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let nats = Nats::start().expect("NATS");
    let (server, _) = start(&nats).await;
    let client = Client::of_project(&server, "prj.eu.1")
        .await
        .expect("a client")
        .with_header("traceparent", TRACE);
    let made = client
        .upsert(
            "ada",
            json!({"full_name": "Ada", "email": "ada@example.org"}),
        )
        .await;
    let members =
        json!({"customer_user_id": "ada", "enabled": false, "profile": {"full_name": "Ada L"}});
    let position = client.post("users/upsert", members).await.position();
    let heard = hear_all(&nats, server.database(), position).await.heard;
    let last = heard.last().expect("a message");
    assert_eq!(
        last.subject,
        "roster.main.acc_test.org_test.prj%2Eeu%2E1.customer.updated"
    );
    let traced = last.headers.get("traceparent");
    assert_eq!(traced.map(async_nats::HeaderValue::as_str), Some(TRACE));
    let mut body = last.body.clone();
    for (name, length) in [("digest", 64), ("time", 27)] {
        let text = body[name].take();
        assert_eq!(text.as_str().map(str::len), Some(length), "{name}: {text}");
    }
    let expected = json!({
        "specversion": "1.0", "id": format!("main:1:{position}"), "source": "/roster/main", "type": "customer.updated",
        "subject": made["customer_ref"], "time": null, "datacontenttype": "application/json",
        "sequence": position.to_string(), "digest": null,
        "data": {
            "account_id": "acc_test", "org_id": "org_test", "project_id": "prj.eu.1",
            "customer_ref": made["customer_ref"], "version": 2, "type_version": 1,
            "changed": {"fields": ["full_name"], "members": ["enabled"]},
        },
    });
    assert_eq!(body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_about_a_person_is_in_the_files_of_the_stream() {
    let planted = [
        "planted-person-Ünï-0001",
        "Érika Müstermänn-Žáková",
        "erika.planted@example-relay.org",
        "+49 170 5550177",
        "external-planted-4711",
        "Lieblingsfarbe Türkisgrün",
        "imported-planted-0003",
        "Ímported Plañted Pérson",
        "request-of-erika-planted",
    ];
    let [
        id,
        name,
        email,
        phone,
        external,
        note,
        imported,
        imported_name,
        request,
    ] = planted;
    let nats = Nats::start().expect("NATS");
    let (server, client) = start(&nats).await;
    let writer = client.with_header("x-request-id", request);
    let members = json!({
        "customer_user_id": id,
        "profile": {"full_name": name, "email": email, "phone": phone, "note": note},
        "data_source": {"kind": "scim", "provider": "okta", "external_id": external},
    });
    writer.ok("users/upsert", members).await;
    writer
        .upsert(id, json!({"full_name": "Another Name"}))
        .await;
    let csv = format!("customer_user_id,full_name\n{imported},{imported_name}\n{imported},\n");
    writer.ok("users/import-csv", json!({"csv": csv})).await;
    let members = json!({"customer_user_id": id, "suppress": true});
    writer.ok("users/delete", members).await;
    let head = client.head().await;
    hear_all(&nats, server.database(), head).await;

    // The server writes its files a little after it acknowledges.
    let last = format!("main:1:{head}");
    let files = until("the last message in a file", async || {
        nats.files().ok().filter(|text| text.contains(&last))
    });
    let files = Dump::of(files.await);
    for seen in ["acc_test", "full_name", "customer.erased"] {
        assert!(!files.forms_of(seen).is_empty(), "{seen} can be found");
    }
    for value in planted {
        assert_eq!(files.forms_of(value), Vec::<String>::new(), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_goes_on_in_another_stream() {
    let nats = Nats::start().expect("NATS");
    let (mut server, client) = start(&nats).await;
    client.upsert_all(people("kept", 20)).await;
    server.stop().await.expect("it stops");
    let copy = server.database().copy().await.expect("a copy");
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    let lost = client.upsert_all(people("lost", 30)).await;
    hear_all(&nats, server.database(), lost).await;
    server.stop().await.expect("it stops");

    // The copy grows past what was relayed before a relay looks at it: only the digest tells.
    let mut restored = Server::start_on(Arc::new(copy), &[("NATS_URL", nats.url())])
        .await
        .expect("a server on the copy");
    let client = client.at(&restored);
    let head = client.upsert_all(people("other", 60)).await;
    assert!(head > lost);
    restored.set("ROSTER_NATS__RELAY", "true");
    restored.restart().await.expect("it starts");
    let subscriber = hear_all(&nats, restored.database(), head).await;
    assert_eq!(subscriber.stream.as_deref(), Some("roster_main_2"));
    let last = &subscriber.heard.last().expect("a message").body;
    assert_eq!(last["id"], format!("main:2:{head}"));
    assert!(restored.log().contains("the database was restored"));
    // Positions of before are told apart from now on, without a restart.
    let client = client.at(&restored);
    let reader = client.with_header("roster-min-position", &format!("1:{lost}"));
    let refused = reader.post("users/list", json!({})).await;
    refused.refused(409, "epoch_changed");
    let reader = client.with_header("roster-min-position", &format!("2:{lost}"));
    reader.ok("users/list", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_is_kept_out_of_the_stream() {
    let nats = Nats::start().expect("NATS");
    let (server, client) = start(&nats).await;
    let head = client.upsert_all(people("first", 20)).await;
    hear_all(&nats, server.database(), head).await;
    let (stranger, other) = start(&nats).await;
    other.upsert_all(people("second", 40)).await;
    bus_is(&other, "degraded").await;
    assert!(
        stranger
            .log()
            .contains("stream roster_main_1 is of another log")
    );
    let head = client.upsert_all(people("third", 20)).await;
    hear_all(&nats, server.database(), head).await;
    bus_is(&client, "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_before_2_10_is_refused_with_its_version() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    // A fake at the outer edge: what such a server greets with, and its answer to the first question.
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let greeting = "INFO {\"server_id\":\"old\",\"version\":\"2.9.10\",\"max_payload\":1048576,\"jetstream\":true}\r\n";
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let _ = stream.write_all(greeting.as_bytes());
        while let Some(Ok(line)) = lines.next() {
            if line.starts_with("PING") && stream.write_all(b"PONG\r\n").is_err() {
                return;
            }
        }
    });
    let started = Server::start_with(&[("NATS_URL", &url)]).await;
    let refusal = format!("{:#}", started.expect_err("a refusal"));
    assert!(
        refusal.contains("NATS 2.9.10 is too old: 2.10 or newer is needed"),
        "{refusal}"
    );
}
