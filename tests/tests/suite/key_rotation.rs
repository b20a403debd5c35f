//! Another key-encryption key, while a server serves and although the rotation is killed.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use roster_tests::client::Client;
use roster_tests::database::{Database, KEK};
use roster_tests::server::Server;
use roster_tests::until::until;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A cell of its own: the password of its role changes, and roles belong to the whole cluster.
const CELL: &str = "rotating";
/// The cell of two databases.
const SHARED: &str = "shared";
/// The new key.
const NEW: &str = "6e65777465737420746573742074657374207465737420746573742074657374";
/// Customers.
const PEOPLE: usize = 60;

fn said(output: &Output, expected: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(expected), "{text}");
    text
}

fn set_keys(server: &Server, text: &str) {
    fs::write(server.folder().join("kek"), text).expect("a key file");
}

/// `roster serve` with other keys than the server's own; it is to end by itself.
fn serve_with(server: &Server, keys: &str) -> Output {
    let file = server.folder().join("some-keys");
    fs::write(&file, keys).expect("a key file");
    let mut command = server.command();
    command.arg("serve").env("ROSTER_KEK_FILE", file);
    command.output().expect("roster runs")
}

fn rotation(server: &Server) -> Command {
    let mut command = server.command();
    command.args(["keys", "rotate-kek", "--batch", "5", "--pause-ms", "100"]);
    command
}

/// How many data keys each key-encryption key wraps.
async fn wrapped(connection: &mut PgConnection) -> BTreeMap<i16, i64> {
    let counts: Vec<(i16, i64)> = sqlx::query_as(
        "SELECT key_no, count(*) FROM log_streams WHERE key IS NOT NULL GROUP BY key_no",
    )
    .fetch_all(connection)
    .await
    .expect("counts");
    counts.into_iter().collect()
}

fn name(number: usize) -> String {
    format!("Pérson Number {number}")
}

/// One of everything that is sealed; gives the import that has a failed row.
async fn plant(client: &Client) -> Value {
    let items: Vec<Value> = (0..PEOPLE)
        .map(|number| {
            json!({"customer_user_id": format!("c{number}"), "profile": {"full_name": name(number)}})
        })
        .collect();
    client.upsert_all(json!(items)).await;
    let csv = "customer_user_id,enabled\nc1,perhaps\nnobody,perhaps\n";
    let import = client.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(import["failed"], 2, "{import}");
    client
        .upsert("suppressed", json!({"full_name": "Suppressed"}))
        .await;
    let members = json!({"customer_user_id": "suppressed", "suppress": true});
    client.ok("users/delete", members).await;
    import["import_id"].clone()
}

/// Reads everything that is sealed, and writes where a key is needed.
async fn use_everything(client: &Client, import_id: &Value, round: usize) {
    let errors = client
        .post("users/imports/errors", json!({"import_id": import_id}))
        .await
        .text();
    assert_eq!(errors.matches("perhaps").count(), 2, "{errors}");
    let suppressed = client.ok("users/suppressions/list", json!({})).await;
    assert!(
        suppressed.to_string().contains("suppressed"),
        "{suppressed}"
    );
    for number in [round % PEOPLE, (round * 7 + 3) % PEOPLE] {
        let id = format!("c{number}");
        let note = format!("round {round}");
        client.upsert(&id, json!({"note": note})).await;
        let got = client
            .ok("users/get", json!({"customer_user_id": id}))
            .await;
        let profile = &got["user"]["profile"];
        assert_eq!(
            (&profile["full_name"], &profile["note"]),
            (&json!(name(number)), &json!(note)),
            "{got}"
        );
    }
    let new = format!("new-{round}");
    client.upsert(&new, json!({"full_name": "New"})).await;
    if round.is_multiple_of(2) {
        client
            .ok("users/delete", json!({"customer_user_id": new}))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_goes_on_and_the_old_key_is_useless() {
    let database = Arc::new(Database::create_empty().await.expect("a database"));
    let settings = [("ROSTER_CELL", CELL), ("ROSTER_CACHE__STREAMS", "4")];
    let mut server = Server::start_on(database, &settings)
        .await
        .expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    let import = plant(&client).await;
    let mut connection = server
        .database()
        .superuser_of(CELL)
        .await
        .expect("a connection");
    let copy = server.folder().join("copy");
    let mut backup = server.command();
    backup.arg("backup").arg("--to").arg(&copy);
    said(&backup.output().expect("roster runs"), 0);

    // A server that could not read what is wrapped with the new key keeps the rotation from beginning.
    let new_key = server.folder().join("new-key");
    fs::write(&new_key, NEW).expect("a key file");
    let mut early = rotation(&server);
    early.arg("--new-key-file").arg(&new_key);
    let refused = said(&early.output().expect("roster runs"), 2);
    assert!(
        refused.contains("has not key-encryption key 2"),
        "{refused}"
    );

    // The servers first get both keys; nothing is wrapped with the new one by that.
    set_keys(&server, &format!("1:{KEK}\n2:{NEW}\n"));
    server.restart().await.expect("a server with both keys");
    let client = client.at(&server);
    use_everything(&client, &import, 0).await;
    let keys = wrapped(&mut connection).await;
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&1]);

    let mut killed = rotation(&server)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("roster runs");
    until("the rotation to be under way", async || {
        let keys = wrapped(&mut connection).await;
        (keys.len() == 2 && keys[&2] >= 10).then_some(())
    })
    .await;
    killed.kill().expect("killed");
    killed.wait().expect("gone");
    let keys = wrapped(&mut connection).await;
    assert!(keys[&1] > 0 && keys[&2] > 0, "{keys:?}");
    use_everything(&client, &import, 2).await;
    for (given, missing) in [(format!("1:{KEK}"), 2), (format!("2:{NEW}"), 1)] {
        let refused = said(&serve_with(&server, &given), 2);
        let says = format!("key-encryption key {missing} is in use");
        assert!(refused.contains(&says), "{refused}");
    }

    let (done, mut is_done) = watch::channel(false);
    let busy = TaskTracker::new().spawn({
        let (client, import) = (client.clone(), import.clone());
        async move {
            let mut round = 4;
            while !*is_done.borrow_and_update() {
                use_everything(&client, &import, round).await;
                round += 1;
            }
            round
        }
    });
    let mut command = rotation(&server);
    command.arg("--new-key-file").arg(&new_key);
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = ended.await.expect("no panic").expect("roster runs");
    done.send(true).expect("the busy task listens");
    let rounds = busy
        .await
        .expect("every request succeeded while keys changed");
    assert!(rounds > 5, "{rounds} rounds");
    let text = said(&ended, 0);
    assert!(
        text.contains("key-encryption key 2 wraps everything"),
        "{text}"
    );
    let keys = wrapped(&mut connection).await;
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&2]);
    let in_use: Vec<i16> = sqlx::query_scalar(
        "SELECT key_no FROM key_checks UNION SELECT pepper_key_no FROM projects",
    )
    .fetch_all(&mut connection)
    .await
    .expect("numbers");
    assert_eq!(in_use, [2]);
    let straggler = sqlx::query("UPDATE log_streams SET key_no = 1 WHERE key IS NOT NULL")
        .execute(&mut connection)
        .await;
    assert!(straggler.is_err(), "the database refuses the old key");
    let mut list = server.command();
    list.args(["keys", "list"]);
    said(&list.output().expect("roster runs"), 0);

    let refused = said(&serve_with(&server, &format!("1:{KEK}")), 2);
    assert!(
        refused.contains("key-encryption key 2 is in use"),
        "{refused}"
    );
    set_keys(&server, &format!("2:{NEW}"));
    server
        .restart()
        .await
        .expect("a server with the new key alone");
    let client = client.at(&server);
    use_everything(&client, &import, 1_000).await;
    let mut verify = server.command();
    verify.args(["log", "verify"]);
    said(&verify.output().expect("roster runs"), 0);
    let mut restore = server.command();
    restore.args(["restore", "--force", "--from"]).arg(&copy);
    let refused = said(&restore.output().expect("roster runs"), 2);
    assert!(
        refused.contains("under another key-encryption key"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_under_another_key_does_not_lock_out_the_servers_of_the_first() {
    let database = Arc::new(Database::create_empty().await.expect("a database"));
    let mut server = Server::start_on(database, &[("ROSTER_CELL", SHARED)])
        .await
        .expect("a server");
    let other = Database::create_empty().await.expect("a database");
    let new_key = server.folder().join("new-key");
    fs::write(&new_key, NEW).expect("a key file");
    let mut migrate = server.command();
    migrate
        .arg("migrate")
        .env("DATABASE_URL", other.owner_url().expose_secret());
    let refused = migrate.env("ROSTER_KEK_FILE", &new_key).output();
    let refused = said(&refused.expect("roster runs"), 2);
    assert!(refused.contains("serves database"), "{refused}");
    // It opens connections anew.
    server.restart().await.expect("its role lets it in");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.upsert("a", json!({"full_name": "Ada"})).await;
}
