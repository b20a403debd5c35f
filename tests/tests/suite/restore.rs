//! A copy of the database and its way back: nobody who was erased since comes back with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::dump::Dump;
use roster_tests::server::Server;
use roster_tests::until::until;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::Connection;

/// Erased after the copy; each with a name to look for.
const LATER: [(&str, &str); 3] = [
    ("erased-later-1", "Ànna Cópied-And-Erased"),
    ("erased-later-2", "Bérta Cópied-And-Erased"),
    ("erased-later-3", "Cléo Cópied-And-Erased"),
];
/// Erased before the copy.
const EARLIER: (&str, &str) = ("erased-earlier", "Dörte Erased-Before-The-Copy");
/// Alive in the copy and after it.
const STAYS: (&str, &str) = ("stays", "Émile Stays-In-The-Copy");

/// The command line of a server against another database.
fn roster(server: &Server, database: &Database, arguments: &[&str]) -> Command {
    let mut command = server.command();
    command
        .env("DATABASE_URL", database.owner_url().expose_secret())
        .args(arguments);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("roster runs")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// What a command said, once it ended as it should.
fn said(output: &Output, expected: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(code(output), Some(expected), "{text}");
    text
}

fn listed(ledger: &Path) -> usize {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    text.matches("\"what\":\"erased\"").count()
}

async fn erase(client: &Client, id: &str) {
    client
        .ok("users/delete", json!({"customer_user_id": id}))
        .await;
}

/// People, some of whom are erased before a copy is taken and some after it. The server is stopped in the end.
async fn copied(server: &mut Server) -> String {
    let client = Client::of_project(server, "p").await.expect("a client");
    for (id, name) in LATER.into_iter().chain([EARLIER, STAYS]) {
        client.upsert(id, json!({"full_name": name})).await;
    }
    erase(&client, EARLIER.0).await;
    let folder = server.folder().join("copy").display().to_string();
    let database = Arc::clone(server.database());
    let text = said(
        &run(roster(server, &database, &["backup", "--to", &folder])),
        0,
    );
    assert!(
        text.contains("cell main: epoch 1, up to position"),
        "{text}"
    );
    for (id, _) in LATER {
        let members = json!({"customer_user_id": id, "suppress": id == LATER[1].0});
        client.ok("users/delete", members).await;
    }
    client
        .upsert("came-later", json!({"full_name": "Not In The Copy"}))
        .await;
    erase(&client, "came-later").await;
    let ledger = server.folder().join("erasures-main.jsonl");
    until("the ledger to list everybody", async || {
        (listed(&ledger) == 5).then_some(())
    })
    .await;
    assert!(server.stop().await.expect("a stop").success());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_erased_after_the_copy_is_erased_again() {
    let mut server = Server::start().await.expect("a server");
    let folder = copied(&mut server).await;
    let database = Arc::new(Database::create_empty().await.expect("a database"));
    let restore = ["restore", "--from", &folder];

    let other_kek = server.folder().join("other-kek");
    fs::write(&other_kek, "ab".repeat(32)).expect("a file");
    let mut other = roster(&server, &database, &restore);
    other.env("ROSTER_KEK_FILE", &other_kek);
    let refused = said(&run(other), 2);
    assert!(
        refused.contains("under another key-encryption key"),
        "{refused}"
    );
    let full = Arc::clone(server.database());
    let refused = said(&run(roster(&server, &full, &restore)), 2);
    assert!(refused.contains("not empty"), "{refused}");

    let restored = said(&run(roster(&server, &database, &restore)), 0);
    assert!(restored.contains("cell main: epoch 2"), "{restored}");
    let dump = Dump::take(&database).await.expect("a dump");
    for (_, name) in LATER.into_iter().chain([EARLIER, STAYS]) {
        assert_eq!(
            dump.forms_of(name),
            Vec::<String>::new(),
            "a copy is sealed"
        );
    }

    let refused = said(&run(roster(&server, &database, &["serve"])), 2);
    assert!(refused.contains("restore-check"), "{refused}");
    let ledger = server.folder().join("erasures-main.jsonl");
    let elsewhere = server.folder().join("elsewhere");
    let mut without = roster(&server, &database, &["restore-check"]);
    without.env("ROSTER_ERASURES__LEDGER_DIR", &elsewhere);
    assert!(said(&run(without), 2).contains("no erasure ledger"));
    // The ledger of another server, with a line that a crash cut off.
    fs::create_dir(&elsewhere).expect("a folder");
    let other_ledger = elsewhere.join("other.jsonl");
    let text = fs::read_to_string(&ledger).expect("a ledger");
    fs::write(&other_ledger, format!("{text}{{\"what\":\"era")).expect("a file");
    let mut check = roster(&server, &database, &["restore-check", "--ledger"]);
    check
        .arg(&other_ledger)
        .env("ROSTER_ERASURES__LEDGER_DIR", &elsewhere);
    let checked = said(&run(check), 0);
    assert!(
        checked.contains(
            "5 listed: 3 erased again, 1 gone already, 1 not in this database, 0 no person's"
        ),
        "{checked}"
    );
    assert!(checked.contains("1 lines were cut off"), "{checked}");
    let again = said(&run(roster(&server, &database, &["restore-check"])), 0);
    assert!(
        again.contains("5 listed: 0 erased again, 4 gone already"),
        "{again}"
    );

    let second = Server::start_on(Arc::clone(&database), &[])
        .await
        .expect("a server on the restored database");
    let client = Client::of_project(&second, "p").await.expect("a client");
    for (id, _) in LATER.into_iter().chain([EARLIER]) {
        let members = json!({"customer_user_id": id});
        client
            .refused("users/get", members, 404, "customer_not_found")
            .await;
    }
    let suppressed = client.ok("users/suppressions/list", json!({})).await;
    assert_eq!(suppressed["total"], 1, "{suppressed}");
    let csv = format!(
        "customer_user_id,full_name\n{},Again\n{},Again\n",
        LATER[0].0, LATER[1].0
    );
    let import = client.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(
        (&import["created"], &import["skipped"]),
        (&json!(1), &json!(1)),
        "an erased id may come again, a suppressed one is skipped: {import}"
    );
    erase(&client, LATER[0].0).await;
    let list = client.post("users/list", json!({"search": "Copy"})).await;
    let found: Vec<Value> = list.ok()["items"].as_array().expect("items").clone();
    assert_eq!(found.len(), 1, "{list}");
    assert_eq!(found[0]["customer_user_id"], STAYS.0);
    let position = list.header("roster-position").expect("a position");
    assert!(position.starts_with("2:"), "{position}");
    let before = client.with_header("roster-min-position", "1:3");
    before
        .refused("users/list", json!({}), 409, "epoch_changed")
        .await;
    let written = client
        .upsert("afterwards", json!({"full_name": "After"}))
        .await;
    assert_eq!(written["version"], 1);
    let dump = Dump::take(&database).await.expect("a dump");
    for (_, name) in LATER.into_iter().chain([EARLIER]) {
        assert_eq!(dump.forms_of(name), Vec::<String>::new());
    }
    assert!(!dump.forms_of(STAYS.1).is_empty());
    let verified = said(&run(roster(&second, &database, &["log", "verify"])), 0);
    assert!(verified.contains("no damage found"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_copy_never_begins_the_same_epoch_twice() {
    let mut server = Server::start().await.expect("a server");
    let folder = copied(&mut server).await;
    for epoch in [2, 3] {
        let database = Database::create_empty().await.expect("a database");
        said(
            &run(roster(&server, &database, &["restore", "--from", &folder])),
            0,
        );
        let checked = said(&run(roster(&server, &database, &["restore-check"])), 0);
        assert!(
            checked.contains(&format!("checked: epoch {epoch} may be served")),
            "{checked}"
        );
    }
    // A database that other tools brought back says nothing by itself; the operator does.
    let database = Arc::clone(server.database());
    let told = said(
        &run(roster(
            &server,
            &database,
            &["restore-check", "--new-epoch"],
        )),
        0,
    );
    assert!(told.contains("checked: epoch 4 may be served"), "{told}");
    server.restart().await.expect("it is served again");
}

/// The parent of a running process, by its file in `/proc`; `None` once it has ended.
fn parent(stat: &Path) -> Option<u32> {
    let text = fs::read_to_string(stat).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.next()?.parse().ok()
}

/// The processes that a process started.
fn children(of: u32) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("processes");
    processes
        .filter_map(|entry| Some(entry.ok()?.path().join("stat")))
        .filter(|stat| parent(stat) == Some(of))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_is_not_served_and_a_changed_copy_not_restored() {
    let mut server = Server::start().await.expect("a server");
    let folder = copied(&mut server).await;
    let database = Database::create_empty().await.expect("a database");
    let mut connection = database.superuser().await.expect("a connection");
    let restore = ["restore", "--from", &folder];
    let mut child = roster(&server, &database, &restore)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("roster runs");
    until("the restore to begin", async || {
        let begun: bool = sqlx::query_scalar("SELECT to_regnamespace('roster_main') IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .expect("an answer");
        begun.then_some(())
    })
    .await;
    let restoring = children(child.id());
    child.kill().expect("killed");
    child.wait().expect("gone");
    // Its pg_restore loses the reader of its messages; the database has whatever it had written. Between its parts it is
    // connected to nothing, so the process must be gone too.
    until("nobody restores any more", async || {
        if restoring.iter().any(|stat| parent(stat).is_some()) {
            return None;
        }
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pg_restore'",
        )
        .fetch_one(&mut connection)
        .await
        .expect("a count");
        (others == 0).then_some(())
    })
    .await;
    connection.close().await.expect("closed");
    let refused = said(&run(roster(&server, &database, &["serve"])), 2);
    assert!(refused.contains("interrupted"), "{refused}");
    assert!(said(&run(roster(&server, &database, &restore)), 2).contains("not empty"));

    let copy = Path::new(&folder).join("database");
    let file = fs::read_dir(&copy)
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name != "toc.dat"))
        .expect("a file of rows");
    let whole = fs::read(&file).expect("bytes");
    let mut changed = whole.clone();
    changed.push(0);
    fs::write(&file, changed).expect("written");
    let forced = ["restore", "--from", &folder, "--force"];
    let refused = said(&run(roster(&server, &database, &forced)), 2);
    assert!(refused.contains("differs from the manifest"), "{refused}");
    fs::write(&file, whole).expect("written");
    said(&run(roster(&server, &database, &forced)), 0);
    said(&run(roster(&server, &database, &["restore-check"])), 0);
}
