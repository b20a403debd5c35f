//! The examples of `deploy/subscribers.md`, each with its real client library: every event once and in order, whatever
//! happens to NATS, to the example or to the database.

use std::process::Command;
use std::sync::Arc;

use roster_dev::environment::Environment;
use roster_tests::bus::Nats;
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::examples::{Example, Follower};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

/// The page that tells of them.
const PAGE: &str = include_str!("../../../deploy/subscribers.md");

async fn serve(database: Arc<Database>, nats: &Nats) -> (Server, Client) {
    let settings = [("NATS_URL", nats.url()), ("ROSTER_NATS__RELAY", "true")];
    let server = Server::start_on(database, &settings)
        .await
        .expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    (server, client)
}

/// New customers, one event each; the position of the last.
async fn write(client: &Client, name: &str, count: usize) -> i64 {
    let people: Value = (0..count)
        .map(|number| {
            json!({"customer_user_id": format!("{name}-{number}"), "profile": {"full_name": "Ada"}})
        })
        .collect();
    let answer = client.post("users/upsert-bulk", json!({"items": people}));
    let answer = answer.await;
    answer.ok();
    let position = answer.header("roster-position").expect("a position");
    let (_, position) = position.split_once(':').expect("epoch and position");
    position.parse().expect("a position")
}

/// What must be printed of a log: id and type of every event.
async fn told(database: &Database, epoch: i64) -> Vec<String> {
    let mut connection = database.superuser().await.expect("a connection");
    sqlx::query_scalar(
        "SELECT format('main:%s:%s %s', $1, e.position, t.name)
           FROM log_events e JOIN log_types t USING (type_no, type_version) ORDER BY e.position",
    )
    .bind(epoch)
    .fetch_all(&mut connection)
    .await
    .expect("the log")
}

/// Lines without what an event is about.
fn heads(lines: &[String]) -> Vec<String> {
    let head = |line: &String| {
        let words: Vec<&str> = line.split(' ').take(2).collect();
        words.join(" ")
    };
    lines.iter().map(head).collect()
}

async fn arrived(follower: &Follower, epoch: i64, position: i64) {
    until("the example to be there", async || {
        (follower.place() == Some((epoch, position))).then_some(())
    })
    .await;
}

async fn follows_every_event_once(example: Example) {
    let mut nats = Nats::start().expect("NATS");
    let mut follower = example.follower().expect("a folder");
    // Before there is a stream.
    follower.start(nats.url()).expect("a process");
    let database = Arc::new(Database::create().await.expect("a database"));
    let (mut server, client) = serve(database, &nats).await;
    let head = write(&client, "before", 150).await;
    arrived(&follower, 1, head).await;
    follower.kill().expect("it was running");
    let head = write(&client, "unheard", 50).await;
    follower.start(nats.url()).expect("a process");
    arrived(&follower, 1, head).await;
    nats.kill().expect("it was running");
    nats.wipe().expect("files");
    let head = write(&client, "away", 50).await;
    nats.restart().expect("it starts again");
    arrived(&follower, 1, head).await;

    server.stop().await.expect("it stops");
    let copy = server.database().copy().await.expect("a copy");
    server.restart().await.expect("it starts");
    let lost = write(&client.at(&server), "lost", 20).await;
    arrived(&follower, 1, lost).await;
    let mut expected = told(server.database(), 1).await;
    assert_eq!(heads(&follower.lines()), expected);
    server.stop().await.expect("it stops");
    let (restored, client) = serve(Arc::new(copy), &nats).await;
    let head = write(&client, "after", 60).await;
    arrived(&follower, 2, head).await;
    expected.push("resynchronise: epoch".into());
    expected.extend(told(restored.database(), 2).await);
    assert_eq!(heads(&follower.lines()), expected);
}

fn skipped(example: &str, reason: &str) {
    eprintln!("SKIPPED: the {example} example cannot run here: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_hears_every_event_once_and_notices_another_epoch() {
    match Example::python() {
        Ok(example) => follows_every_event_once(example).await,
        Err(reason) => skipped("Python", &reason),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_node_hears_every_event_once_and_notices_another_epoch() {
    match Example::node() {
        Ok(example) => follows_every_event_once(example).await,
        Err(reason) => skipped("Node", &reason),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_for_the_nats_cli_show_the_stream() {
    if Environment::read().find_program("nats").is_none() {
        return skipped("nats CLI", "there is no nats in PATH");
    }
    let nats = Nats::start().expect("NATS");
    let database = Arc::new(Database::create().await.expect("a database"));
    let (server, client) = serve(database, &nats).await;
    let head = write(&client, "cli", 20).await;
    assert!(head >= 20);
    let (_, after) = PAGE.split_once("### nats CLI").expect("a chapter");
    let (_, block) = after.split_once("```sh\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let outputs = block.lines().map(|line| {
        let output = Command::new("sh")
            .args(["-c", line])
            .env("NATS_URL", nats.url())
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}{errors}");
        said
    });
    let outputs: Vec<String> = outputs.collect();
    let [streams, message, messages] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert!(streams.contains("roster_main_1"), "{streams}");
    assert!(message.contains("main:1:1"), "{message}");
    let ids = messages.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(event["id"].as_str()?.to_owned())
    });
    let expected: Vec<String> = (1..=10)
        .map(|position| format!("main:1:{position}"))
        .collect();
    assert_eq!(ids.collect::<Vec<_>>(), expected);
    drop(server);
}
