//! No credential of a connection, and nothing of a record that failed, is in a place that others read: database, log, files,
//! answers, metrics, the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use futures::future::join_all;
use roster_fakes::{Fake, Fault, Vendor};
use roster_tests::bus::{Nats, Subscriber};
use roster_tests::client::{Client, project};
use roster_tests::dump::Dump;
use roster_tests::schema::{field, with};
use roster_tests::syncs::{self, connected, connection, count, ended, started};
use roster_tests::traces::forms_in;
use serde_json::{Value, json};

/// Everything that a server writes beside its database.
fn files(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &files(&path);
        } else {
            text += &String::from_utf8_lossy(&fs::read(&path).expect("a file"));
        }
    }
    text
}

/// A text as a URL has it.
fn percent(text: &str) -> String {
    let keeps = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            byte if keeps(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The parts of a credential that its provider says to be secret; of a key file, lines of the key.
fn secrets(providers: &Value, fake: &Fake) -> Vec<String> {
    let items = providers["items"].as_array().expect("providers");
    let provider = items.iter().find(|one| one["provider"] == fake.provider());
    let credentials = fake.credentials();
    let auth = provider.expect("its provider")["auth"].as_array();
    let kind = auth
        .expect("ways")
        .iter()
        .find(|way| way["type"] == credentials["type"]);
    let fields = kind.expect("its way")["fields"].as_array().expect("fields");
    let fields = fields.iter().filter(|field| field["secret"] == true);
    let parts = fields.filter_map(|field| credentials[field["name"].as_str()?].as_str());
    parts
        .flat_map(|part| match serde_json::from_str::<Value>(part) {
            Ok(file) if file.is_object() => {
                let key = file["private_key"].as_str().expect("a key");
                let lines: Vec<&str> = key.lines().collect();
                vec![lines[1].to_owned(), lines[lines.len() / 2].to_owned()]
            }
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// A secret that no vendor takes, of a form that every connection takes.
fn other(what: &str, number: usize) -> String {
    format!("{what}-s3cret/of+{number:03}=zq")
}

/// The credential of a fake with another secret; `None` where only its own form is taken.
fn with_secret(fake: &Fake, secret: &str) -> Option<Value> {
    let mut credentials = fake.credentials();
    let names = [
        "access_token",
        "token",
        "api_token",
        "api_key",
        "key",
        "password",
        "client_secret",
    ];
    let name = names.iter().find(|name| credentials[**name].is_string())?;
    credentials[*name] = json!(secret);
    Some(credentials)
}

/// Everything that can happen to a connection.
async fn live(client: Client, fake: &Fake, number: usize, planted: &mut Vec<String>) {
    fake.fill(4);
    fake.world(|world| {
        let failing = world.people.get_mut(&3).expect("somebody");
        failing.email = format!("failing-mail-of-{number:03}-without-a-host");
        failing.first = format!("Failing-First-{number:03}");
    });
    let id = connected(&client, fake).await;
    // A record without a usable address fails.
    let required = with(&[
        field("email", &json!({"type": "email", "required": true})),
        field("first_name", &json!({})),
        field("last_name", &json!({})),
    ]);
    client.ok("schema/upsert", required).await;
    client.ok("connections/test", id.clone()).await;
    client.ok("connections/preview", id.clone()).await;
    let run = ended(&client, &started(&client, &id, "full").await).await;
    assert_eq!(run["status"], "completed_with_errors", "{run}");
    assert_eq!(count(&run, "failed"), 1, "{run}");
    let errors = client
        .post("runs/errors", json!({"run_id": run["run_id"]}))
        .await;
    assert!(
        errors
            .text()
            .contains(&format!("Failing-First-{number:03}")),
        "{errors}"
    );

    // Refusals that repeat what they were asked with.
    for fault in [Fault::Echo(400), Fault::EchoHtml, Fault::Echo(403)] {
        fake.fault(1, fault.clone());
        let failed = ended(&client, &started(&client, &id, "full").await).await;
        assert_eq!(failed["status"], "failed", "{fault:?}: {failed}");
        fake.fault(1, fault);
        client.post("connections/test", id.clone()).await;
        fake.fault(1, Fault::Echo(401));
        client.post("connections/preview", id.clone()).await;
    }
    fake.fault(1, Fault::Echo(500));
    let passed = ended(&client, &started(&client, &id, "full").await).await;
    assert_eq!(passed["status"], "completed_with_errors", "{passed}");
    // Twice, for a token is got anew once.
    fake.fault(1, Fault::Echo(401));
    fake.fault(2, Fault::Echo(401));
    let refused = ended(&client, &started(&client, &id, "full").await).await;
    assert_eq!(refused["code"], "auth_failed", "{refused}");

    for (what, route) in [
        ("unsaved", "connections/test"),
        ("unsaved", "connections/preview"),
        ("changed", "connections/upsert"),
    ] {
        let secret = other(what, number);
        let Some(credentials) = with_secret(fake, &secret) else {
            continue;
        };
        planted.push(secret);
        let mut members = connection(fake);
        members["credentials"] = credentials;
        if route == "connections/upsert" {
            members["connection_id"] = id["connection_id"].clone();
        }
        fake.fault(1, Fault::Echo(401));
        client.post(route, members).await;
        let run_id = started(&client, &id, "full").await;
        fake.fault(1, Fault::Echo(401));
        ended(&client, &run_id).await;
    }
    client.ok("connections/get", id.clone()).await;
    // Bodies that are wrong where the secret is.
    let secret = other("malformed", number);
    let mut file = json!({"client_email": "a", "private_key": secret});
    for wrong in [
        json!(secret),
        json!([secret]),
        json!({"type": secret}),
        json!({"access_token": [secret]}),
        json!({"no_such_part": secret}),
        json!({"type": "service_account", "service_account_key": file.to_string()}),
        json!({"type": "service_account", "service_account_key": file.take()}),
    ] {
        let mut members = connection(fake);
        members["name"] = json!("another");
        members["credentials"] = wrong;
        for route in [
            "connections/upsert",
            "connections/test",
            "connections/preview",
        ] {
            let refused = client.post(route, members.clone()).await;
            assert!(matches!(refused.status, 400 | 422), "{refused}");
        }
    }
    planted.push(secret);
    if number.is_multiple_of(2) {
        let customers = if number.is_multiple_of(4) {
            "keep"
        } else {
            "purge"
        };
        let mut members = id.clone();
        members["customers"] = json!(customers);
        client.ok("connections/delete", members).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_nothing_of_a_failed_record_is_left_anywhere() {
    let nats = Nats::start().expect("NATS");
    let fakes = join_all(Vendor::ALL.iter().map(|vendor| Fake::start(*vendor))).await;
    let is_by_key = |fake: &&Fake| {
        fake.credentials()["type"] == "api_key" && fake.provider() == "google_sheets"
    };
    let (by_key, others): (Vec<&Fake>, Vec<&Fake>) = fakes.iter().partition(is_by_key);
    let settings = [
        ("NATS_URL", nats.url()),
        ("ROSTER_NATS__RELAY", "true"),
        ("ROSTER_LOG__LEVEL", "debug"),
        ("ROSTER_SYNC__AT_ONCE", "8"),
    ];
    let mut server = syncs::server(&others, &settings).await.expect("a server");
    let client = Client::of_project(&server, "secrets")
        .await
        .expect("a client");
    let (client, heard) = client.recorded();
    let providers = client.ok("providers/list", json!({})).await;

    let mut planted = BTreeSet::new();
    // Two fakes of one provider cannot both stand for its hosts, so the second one gets its own turn.
    for (turn, some) in [others, by_key].into_iter().enumerate() {
        server.set("ROSTER_SYNC__BASE_URLS", &syncs::base_urls(&some));
        server.restart().await.expect("a start");
        let client = client.at(&server);
        let lives = some.iter().enumerate().map(async |(number, fake)| {
            let number = turn * 100 + number;
            let mut planted = secrets(&providers, fake);
            assert!(!planted.is_empty(), "{}", fake.provider());
            let client = client.in_scope(project(&format!("secrets-{number}")));
            live(client, fake, number, &mut planted).await;
            planted
        });
        planted.extend(join_all(lives).await.into_iter().flatten());
    }
    let client = client.at(&server);
    // Tokens that vendors gave out.
    planted.insert("-of-the-fake".into());
    let coded: Vec<String> = planted.iter().map(|secret| percent(secret)).collect();
    planted.extend(coded);
    let personal = ["failing-mail-of-", "Failing-First-"];

    let metrics = client.get("/metrics").await.text();
    let mut subscriber = Subscriber::connect(&nats).await.expect("a subscriber");
    subscriber.hear(client.head().await).await;
    let messages = format!("{:?}", subscriber.heard);
    let dump = Dump::take(server.database()).await.expect("a dump");
    let places: BTreeMap<&str, String> = BTreeMap::from([
        ("the dump", dump.text().to_owned()),
        ("the log", server.log()),
        ("the files", files(server.folder())),
        ("the answers", heard.text()),
        ("the metrics", metrics),
        ("the messages", messages),
        ("the files of the bus", nats.files().expect("files")),
    ]);
    for (place, control) in [
        ("the dump", "person1@example.org"),
        ("the log", "a sync ended"),
        ("the files", "a sync ended"),
        ("the answers", "Failing-First-000"),
        ("the metrics", "roster_sync_runs_total"),
        ("the messages", "sync_run.finished"),
        ("the files of the bus", "sync_run.finished"),
    ] {
        let found = forms_in(places[place].as_bytes(), &[control]);
        assert!(!found.is_empty(), "{place} is searched");
    }
    let secrets: Vec<&str> = planted.iter().map(String::as_str).collect();
    for (place, text) in &places {
        let mut values = secrets.clone();
        if *place != "the answers" {
            values.extend(personal);
        }
        let found = forms_in(text.as_bytes(), &values);
        assert_eq!(found, BTreeSet::new(), "{place}");
    }
}
