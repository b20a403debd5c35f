//! The audit copy: complete whatever interrupts an export, equal to the log when it is replayed, and erased where the log is.
//!
//! The people are those of the real files beside the repository (see `real_data`), or made-up ones where they are missing.

use std::path::PathBuf;
use std::process::{Command, Output};

use roster_tests::bench::people;
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::imports::import_stream;
use roster_tests::server::Server;
use roster_tests::until::until;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

/// A server with a project, and the database of its audit copy.
struct Audited {
    server: Server,
    client: Client,
    /// Any database will do; the copy is in its schema `public`.
    copy: Database,
    connection: PgConnection,
}

/// A schema, and files of its rows one after another.
fn files(names: &[&str]) -> (Value, Vec<String>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let texts: Vec<String> = names
        .iter()
        .filter_map(|name| std::fs::read_to_string(folder.join(name)).ok())
        .collect();
    if texts.len() < names.len() {
        let editions = (0..).take(names.len());
        let made_up = editions.map(|edition| people::csv(0..3_000, edition).collect());
        return (json!({"schema": people::definition()}), made_up.collect());
    }
    let header = texts[0].lines().next().expect("a header");
    let fields = header.trim().split(',').map(|name| {
        let is_key = name == "bioguide_id";
        json!({"name": name, "type": "string", "required": is_key, "unique": is_key})
    });
    let schema = json!({"primary_key": "bioguide_id", "fields": fields.collect::<Vec<_>>()});
    (schema, texts)
}

impl Audited {
    async fn start(schema: Value, files: Vec<String>) -> Self {
        let server = Server::start().await.expect("a server");
        let client = Client::of_project(&server, "p").await.expect("a client");
        client.ok("schema/upsert", schema).await;
        for text in files {
            let result = import_stream(&client, "", text).await;
            assert_eq!(result["failed"], 0, "{result}");
        }
        let copy = Database::create().await.expect("a database");
        let url = copy.owner_url().expose_secret();
        let connection = PgConnection::connect(url).await.expect("a connection");
        Self {
            server,
            client,
            copy,
            connection,
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = self.server.command();
        command
            .args(["audit", verb])
            .env("ROSTER_AUDIT_URL", self.copy.owner_url().expose_secret());
        command
    }

    fn run(&self, verb: &str) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(verb).output().expect("roster runs");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        let errors = String::from_utf8_lossy(&stderr);
        (status.code(), format!("{text}{errors}"))
    }

    fn export(&self) -> String {
        let (code, text) = self.run("export");
        assert_eq!(code, Some(0), "{text}");
        text
    }

    /// Events in the copy, their distinct positions, and the last one.
    async fn copied(&mut self) -> (i64, i64, i64) {
        sqlx::query_as(
            "SELECT count(*), count(DISTINCT metadata ->> 'position'), COALESCE(max((metadata ->> 'position')::bigint), 0)
               FROM events",
        )
        .fetch_one(&mut self.connection)
        .await
        .expect("a count")
    }

    /// Rows of the copy that hold a text anywhere.
    async fn holding(&mut self, text: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE position($1 IN events::text) > 0")
            .bind(text)
            .fetch_one(&mut self.connection)
            .await
            .expect("a count")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_people_are_rebuilt_from_the_copy_as_they_are_in_the_log() {
    let (schema, texts) = files(&["legislators-2024-12.csv", "legislators-2026-06.csv"]);
    let mut audited = Audited::start(schema, texts).await;
    audited.export();
    let head = audited.client.head().await;
    assert_eq!(audited.copied().await, (head, head, head));
    let again = audited.export();
    assert!(again.starts_with("0 events written, 0 erased"), "{again}");

    let total = audited.client.ok("users/list", json!({})).await["total"].clone();
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(0), "{text}");
    let equal =
        format!("{total} customers rebuilt from the copy are equal to the log, 0 differ, 0 wait");
    assert!(text.contains(&equal), "{text}");

    // Who goes on changing after an export is compared as of then.
    let listed = audited
        .client
        .ok("users/list", json!({"page_size": 2}))
        .await;
    let [moved, tampered] = [0, 1].map(|place| listed["items"][place].clone());
    let switch =
        json!({"customer_user_id": moved["customer_user_id"], "enabled": false, "profile": {}});
    audited.client.ok("users/upsert", switch).await;
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(0), "{text}");

    let stream = tampered["customer_ref"].as_str().expect("a reference");
    sqlx::query(
        "UPDATE events
            SET payload = jsonb_set(payload::jsonb, '{registered,enabled}', 'false')
          WHERE aggregate_id = $1 AND sequence = 1",
    )
    .bind(stream)
    .execute(&mut audited.connection)
    .await
    .expect("a change");
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(1), "{text}");
    let told = format!("DIFFERS customer {stream}: enabled");
    assert!(text.contains(&told) && text.contains(" 1 differ"), "{text}");
    let removed = "DELETE FROM events WHERE aggregate_id = $1 AND sequence = 1";
    let moved = moved["customer_ref"].as_str().expect("a reference");
    sqlx::query(removed)
        .bind(moved)
        .execute(&mut audited.connection)
        .await
        .expect("a change");
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(1), "{text}");
    let told = format!("DIFFERS customer {moved}: the copy has ");
    assert!(text.contains(&told) && text.contains(" 2 differ"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_killed_goes_on_where_it_was() {
    let (schema, texts) = files(&["legislators-historical.csv"]);
    let mut audited = Audited::start(schema, texts).await;
    let head = audited.client.head().await;
    for part in [3, 2] {
        let mut child = audited.command("export").spawn().expect("roster runs");
        until("a part of the copy", async || {
            let there = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM events")
                .fetch_one(&mut audited.connection)
                .await;
            (there.unwrap_or(0) >= head / (part * 2)).then_some(())
        })
        .await;
        child.kill().expect("it was running");
        child.wait().expect("it is gone");
        let (rows, distinct, last) = audited.copied().await;
        assert!(
            rows == distinct && rows == last,
            "{rows}, {distinct}, {last}"
        );
        assert!(rows < head, "it was killed too late: {rows} of {head}");
    }
    audited.export();
    let head = audited.client.head().await;
    assert_eq!(audited.copied().await, (head, head, head));
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_gone_from_the_copy_after_the_next_export() {
    let schema = json!({"schema": people::definition()});
    let mut audited = Audited::start(schema, vec![people::csv(0..50, 0).collect()]).await;
    let planted = [
        "planted-person-0001",
        "Érika Müstermänn",
        "erika@planted.example.org",
        "Earlier Nämé",
    ];
    let [id, name, email, earlier] = planted;
    audited
        .client
        .upsert(id, json!({"full_name": earlier, "email": email}))
        .await;
    audited.client.upsert(id, json!({"full_name": name})).await;
    audited.export();
    for text in planted {
        assert!(
            audited.holding(text).await > 0,
            "{text} is what a copy is for"
        );
    }
    audited
        .client
        .ok("users/delete", json!({"customer_user_id": id}))
        .await;
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(" 1 wait for the next export"), "{text}");

    let exported = audited.export();
    assert!(
        exported.starts_with("1 events written, 2 erased"),
        "{exported}"
    );
    for text in planted {
        assert_eq!(audited.holding(text).await, 0, "{text}");
    }
    assert!(audited.holding(&people::email(3)).await > 0, "others stay");
    let (code, text) = audited.run("replay");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("51 customers"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_somebody_else_or_of_another_life_of_the_log_is_left_alone() {
    let schema = json!({"schema": people::definition()});
    let mut audited = Audited::start(schema, vec![people::csv(0..5, 0).collect()]).await;
    audited.export();
    let mut superuser = audited
        .server
        .database()
        .superuser()
        .await
        .expect("a connection");
    superuser
        .execute("UPDATE log_epoch SET epoch = 2")
        .await
        .expect("a change");
    let (code, text) = audited.run("export");
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("in epoch 1, not of main in epoch 2"),
        "{text}"
    );
    audited
        .connection
        .execute(
            "INSERT INTO events VALUES ('Customer', 'somebody', 1, 'NameAdded', '1.0', '{}', '{}')",
        )
        .await
        .expect("a row");
    let (code, text) = audited.run("export");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no audit copy of Roster"), "{text}");
}
