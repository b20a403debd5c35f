//! The audit sink: every event of the log once and in order in files, whatever happens to the sink or to NATS.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use roster_tests::bus::Nats;
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

async fn serve(nats: &Nats, settings: &[(&str, &str)]) -> (Server, Client) {
    let database = Database::create().await.expect("a database");
    let settings = [
        &[("NATS_URL", nats.url()), ("ROSTER_NATS__RELAY", "true")],
        settings,
    ]
    .concat();
    let server = Server::start_on(Arc::new(database), &settings)
        .await
        .expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    (server, client)
}

fn people(name: &str, count: usize) -> Value {
    (0..count)
        .map(|number| {
            json!({"customer_user_id": format!("{name}-{number}"), "profile": {"full_name": "Sunken Person"}})
        })
        .collect()
}

/// The lines of all files in the order of their names.
fn lines(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let texts = files
        .iter()
        .map(|path| fs::read_to_string(path).expect("text"));
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Writes what there is, and compares all that is in the files with the log.
async fn assert_whole(server: &Server, folder: &Path) {
    let done = server
        .command()
        .args(["audit", "sink", "--once", "--to"])
        .arg(folder)
        .output()
        .expect("a command");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let mut connection = server.database().superuser().await.expect("a connection");
    let log: Vec<String> =
        sqlx::query_scalar("SELECT encode(digest, 'hex') FROM log_events ORDER BY position")
            .fetch_all(&mut connection)
            .await
            .expect("the log");
    let lines = lines(folder);
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            let event: Value = serde_json::from_str(line).expect("an event");
            event["digest"].as_str().expect("a digest").to_owned()
        })
        .collect();
    assert_eq!(told, log);
    assert!(!lines.concat().contains("Sunken"), "a file names somebody");
}

fn start_sink(server: &Server, folder: &Path) -> Child {
    server
        .command()
        .args(["audit", "sink", "--rotate-mib", "1", "--to"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a sink")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_has_every_event_once_though_it_and_nats_are_killed() {
    let mut nats = Nats::start().expect("NATS");
    let (server, client) = serve(&nats, &[]).await;
    let folder = server.folder().join("sink");
    let mut head = client.upsert_all(people("before", 200)).await;
    for round in 0..3 {
        let mut sink = start_sink(&server, &folder);
        // Killed while it writes.
        until("the sink to be at work", async || {
            let written = i64::try_from(lines(&folder).len()).expect("few");
            (written > head / 2).then_some(())
        })
        .await;
        head = client
            .upsert_all(people(&format!("during-{round}"), 200))
            .await;
        sink.kill().expect("it was running");
        sink.wait().expect("it ended");
        if round == 1 {
            nats.kill().expect("it was running");
            nats.wipe().expect("files");
            nats.restart().expect("it starts again");
        }
    }
    assert_whole(&server, &folder).await;
    head = client.upsert_all(people("after", 20)).await;
    assert!(head > 800);
    assert_whole(&server, &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_no_longer_has_comes_from_the_log() {
    let nats = Nats::start().expect("NATS");
    let (server, client) = serve(&nats, &[("ROSTER_NATS__MAX_BYTES", "1048576")]).await;
    let folder = server.folder().join("sink");
    let mut head = 0;
    for round in 0..6 {
        head = client
            .upsert_all(people(&format!("many-{round}"), 500))
            .await;
    }
    let context =
        async_nats::jetstream::new(async_nats::connect(nats.url()).await.expect("a connection"));
    until("the stream to have lost its first messages", async || {
        let stream = context.get_stream("roster_main_1").await.ok()?;
        let state = &stream.cached_info().state;
        let is_whole = state.last_sequence == head.unsigned_abs();
        (is_whole && state.first_sequence > 1).then_some(())
    })
    .await;
    assert_whole(&server, &folder).await;
}
