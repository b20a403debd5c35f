//! Read tables made anew beside the live ones: equal to them, swapped in while commands run, and taken back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream;
use reqwest::Body;
use roster_projections::rebuild::{RebuildError, Target, drop_old, rebuild, roll_back};
use roster_tests::bench::people;
use roster_tests::client::{Client, ids};
use roster_tests::database::Database;
use roster_tests::dump::Dump;
use roster_tests::imports::import_stream;
use roster_tests::scale::{Pace, asked};
use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::Executor;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

const TARGETS: [(Target, &str); 3] = [
    (Target::Directory, "directory"),
    (Target::Search, "search"),
    (Target::Audit, "audit"),
];
/// Writers, and the most that each writes: a rebuild that never ends does not keep the test busy for ever.
const WRITERS: usize = 6;
const WRITES: usize = 2_000;

/// People whom another project of the same cell has besides.
fn others() -> u32 {
    asked("ROSTER_REBUILD_ROWS", 0)
}

/// Upserts a second of all writers together, at most.
fn rate() -> u32 {
    asked("ROSTER_REBUILD_WRITES", 10_000)
}

/// Imports the others.
async fn crowd(server: &Server) {
    let client = Client::of_project(server, "crowd").await.expect("a client");
    let schema = json!({"schema": people::definition()});
    client.ok("schema/upsert", schema).await;
    let pieces = stream::iter(people::csv(0..others(), 0).map(Ok::<_, std::io::Error>));
    let ended = import_stream(&client, "", Body::wrap_stream(pieces)).await;
    assert_eq!(ended["created"], others(), "{ended}");
}

/// Runs `roster rebuild` as its users do.
async fn rebuild_by_command(server: &Server, arguments: &[&'static str]) {
    let mut command = server.command();
    command.arg("rebuild").args(arguments);
    let output = spawn_blocking(move || command.output()).await;
    let output = output.expect("it ends").expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// A little of everything that has a row anywhere.
async fn populate(client: &Client) {
    let people: Vec<Value> = (0..400)
        .map(|number| {
            json!({
                "customer_user_id": format!("c{number:03}"),
                "profile": {"full_name": format!("Žofie Ó’Brien {number}"), "email": format!("c{number}@example.org"), "score": number},
                "enabled": number % 7 != 0,
                "connector_enabled": if number % 5 == 0 { json!({"sms": false}) } else { json!({}) },
            })
        })
        .collect();
    client.upsert_all(people.into()).await;
    let csv = "customer_user_id,full_name,email,extra\nc001,Ada,ada@example.org,x\nd1,Grace,grace@example.org,y\nd2,,nonsense,z\n";
    client.ok("users/import-csv", json!({"csv": csv})).await;
    for (id, suppress) in [("c010", false), ("c011", true)] {
        let members = json!({"customer_user_id": id, "suppress": suppress});
        client.ok("users/delete", members).await;
    }
    client.upsert("c010", json!({"full_name": "Another"})).await;
    client
        .upsert("c012", json!({"email": null, "score": 3}))
        .await;
    let tag = json!({"kind": "scim", "provider": "okta", "external_id": "E-7", "synced_at": "2026-01-02T03:04:05Z"});
    let members = json!({"customer_user_id": "c013", "profile": {}, "data_source": tag});
    client.ok("users/upsert", members).await;
    populate_access(client).await;
}

/// Links and grants, of which some change hands and some go.
async fn populate_access(client: &Client) {
    for number in 20..40 {
        let members = json!({
            "customer_user_id": format!("c{number:03}"), "channel": "telegram", "external_user_id": format!("@u{number}"),
            "agents": ["sales", "support"], "enabled": number % 3 != 0,
        });
        client.ok("users/attach-channel-grant", members).await;
    }
    // The later owner may be folded before the earlier one, or behind.
    for (from, to) in [(20, 30), (31, 21)] {
        let identity = json!({"channel": "telegram", "external_user_id": format!("@u{from}")});
        client.ok("identities/unlink", identity).await;
        let link = json!({
            "customer_user_id": format!("c{to:03}"), "channel": "telegram", "external_user_id": format!("@u{from}"),
        });
        client.ok("identities/link", link).await;
    }
    let members = json!({"customer_user_id": "c022"});
    client.ok("users/delete", members).await;
    for channel in ["telegram", "line"] {
        let members = json!({"channel": channel, "external_user_id": "*", "agents": ["*"]});
        client.ok("users/attach-channel-grant", members).await;
    }
    let members = json!({"channel": "line", "external_user_id": "*"});
    client.ok("users/revoke-channel-grant", members).await;
    let members = json!({"customer_user_id": "c023", "channel": "telegram"});
    client.ok("users/revoke-channel-grant", members).await;
}

/// Waits until every projection runs and has the whole log.
async fn settle(client: &Client) {
    until("the projections reach the head", async || {
        let ready = client.get("/readyz").await.ok();
        let reached = ready["projections"]
            .as_array()?
            .iter()
            .all(|projection| projection["position"] == ready["head"]);
        (reached && ready["status"] == "ready").then_some(())
    })
    .await;
}

/// The rows that one of the live and the old tables has and the other has not.
///
/// How soon a row was seen is not in the log: `last_upserted_at` and `position` of a data source depend on the pages that
/// the events came in, and so does a row whose count fell to nothing.
async fn differences(database: &Database, target: Target, name: &str) -> Vec<String> {
    let mut connection = database.superuser().await.expect("a connection");
    let mut found = Vec::new();
    for table in target.tables() {
        let columns = if *table == "view_data_sources" {
            "project_no, source_kind, source_provider, source_connection, count, enabled_count"
        } else {
            "*"
        };
        let rows = |schema: &str| {
            let kept = if *table == "view_data_sources" {
                "WHERE count > 0"
            } else {
                ""
            };
            format!("SELECT row(t.*)::text FROM (SELECT {columns} FROM {schema}.{table} {kept}) t")
        };
        let (live, old) = (
            rows("roster_main"),
            rows(&format!("roster_main_old_{name}")),
        );
        let sql = format!(
            "(SELECT '{table} live: ' || row FROM ({live}) AS t(row) EXCEPT ALL SELECT '{table} live: ' || row FROM ({old}) AS t(row))
             UNION ALL
             (SELECT '{table} old: ' || row FROM ({old}) AS t(row) EXCEPT ALL SELECT '{table} old: ' || row FROM ({live}) AS t(row))"
        );
        let rows: Vec<String> = sqlx::query_scalar(&sql)
            .fetch_all(&mut connection)
            .await
            .expect("rows");
        found.extend(rows);
    }
    found
}

/// What Postgres knows of the form of tables: columns, indexes, options, statistics targets and who may do what.
async fn form(database: &Database, tables: &[&str]) -> Vec<String> {
    let mut connection = database.superuser().await.expect("a connection");
    sqlx::query_scalar(
        "SELECT format('%s %s %s', relname, reloptions, array_to_string(relacl, ' '))
           FROM pg_class
          WHERE relnamespace = 'roster_main'::regnamespace AND relkind = 'r' AND relname = ANY ($1)
         UNION ALL
         SELECT format('%s %s %s %s %s %s %s', c.relname, a.attname, a.atttypid, a.attnotnull, a.attstattarget, a.attstorage, a.attcollation)
           FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
          WHERE c.relnamespace = 'roster_main'::regnamespace AND c.relkind = 'r' AND c.relname = ANY ($1)
         UNION ALL
         SELECT indexdef FROM pg_indexes WHERE schemaname = 'roster_main' AND tablename = ANY ($1)
          ORDER BY 1",
    )
    .bind(tables.iter().map(|table| (*table).to_owned()).collect::<Vec<_>>())
    .fetch_all(&mut connection)
    .await
    .expect("rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_tables_equal_the_live_ones_and_have_their_form() {
    let server = Server::start().await.expect("a server");
    let database = server.database();
    let client = typed_project(&server, "rebuilt").await;
    populate(&client).await;
    let place = database.place().expect("a place");
    for (target, name) in TARGETS {
        settle(&client).await;
        let before = form(database, target.tables()).await;
        let position = rebuild(&place, target, &|_| {})
            .await
            .expect("it is rebuilt");
        assert_eq!(position, client.head().await, "{name}");
        assert_eq!(
            differences(database, target, name).await,
            Vec::<String>::new()
        );
        assert_eq!(form(database, target.tables()).await, before, "{name}");
        // The server goes on with the new tables.
        let id = format!("after-{name}");
        let written = client
            .post(
                "users/upsert",
                json!({"customer_user_id": id, "profile": {"full_name": "After"}}),
            )
            .await;
        assert_eq!(written.header("roster-projected"), None, "{written}");
        assert_eq!(
            client
                .list_at(json!({"search": id}), written.position())
                .await["total"],
            1
        );
    }
    // Its rows, followed by the runner, are again what the next rebuild makes.
    for (target, name) in TARGETS {
        settle(&client).await;
        rebuild(&place, target, &|_| {})
            .await
            .expect("it is rebuilt");
        assert_eq!(
            differences(database, target, name).await,
            Vec::<String>::new()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_and_every_write_is_read_while_tables_are_swapped() {
    let server = Server::start().await.expect("a server");
    let second = Server::start_on(server.database().clone(), &[])
        .await
        .expect("a second server");
    let client = typed_project(&server, "swapped").await;
    populate(&client).await;
    if others() > 0 {
        crowd(&server).await;
        settle(&client).await;
    }
    let most = WRITES.max(others() as usize / 5);
    let pace = Arc::new(Pace::start(rate()));
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (done, here, there) = (Arc::clone(&done), client.clone(), client.at(&second));
        let pace = Arc::clone(&pace);
        writers.spawn(async move {
            let mut writes = 0;
            while writes < most && (!done.load(Ordering::Relaxed) || writes < 5) {
                pace.turn().await;
                let id = format!("w{writer}-{}", writes % 20);
                let members = json!({"customer_user_id": id, "profile": {"full_name": "Writer", "score": writes}});
                let written = here.post("users/upsert", members).await;
                written.ok();
                assert_eq!(written.header("roster-projected"), None, "{written}");
                let minimum = format!("1:{}", written.position());
                for reader in [&here, &there] {
                    let reader = reader.with_header("roster-min-position", &minimum);
                    let read = reader
                        .ok("users/get", json!({"customer_user_id": id}))
                        .await;
                    assert_eq!(read["user"]["profile"]["score"], writes, "{read}");
                    let listed = reader.ok("users/list", json!({"search": id})).await;
                    assert!(ids(&listed).contains(&id), "{listed}");
                }
                writes += 1;
            }
            writes
        });
    }
    let started = Instant::now();
    for (_, name) in TARGETS {
        rebuild_by_command(&server, &[name]).await;
        eprintln!("{name} rebuilt, {:.1} s", started.elapsed().as_secs_f64());
    }
    for (_, name) in TARGETS {
        rebuild_by_command(&server, &[name, "--roll-back"]).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut writes = 0;
    while let Some(ended) = writers.join_next().await {
        writes += ended.expect("no writer fails");
    }
    let took = started.elapsed().as_secs_f64();
    eprintln!("{writes} writes in {took:.1} s, each read four times");
    for (target, name) in TARGETS {
        settle(&client).await;
        rebuild_by_command(&server, &[name]).await;
        assert_eq!(
            differences(server.database(), target, name).await,
            Vec::<String>::new()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_brings_the_old_tables_up_to_now() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "back").await;
    populate(&client).await;
    let name = "Erased While The Old Tables Waited";
    let gone = client.upsert("gone", json!({"full_name": name})).await;
    // Somebody may be called by the reference of another one.
    let reference = gone["customer_ref"].as_str().expect("a reference");
    let named = json!({"full_name": "Named By A Reference"});
    client.upsert(reference, named).await;
    settle(&client).await;
    for projection in ["directory", "search"] {
        let output = server
            .command()
            .args(["rebuild", projection])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }
    client
        .ok("users/delete", json!({"customer_user_id": "gone"}))
        .await;
    client.upsert("later", json!({"full_name": "Later"})).await;
    settle(&client).await;
    let dump = Dump::take(server.database()).await.expect("a dump");
    assert_eq!(
        dump.forms_of(name),
        Vec::<String>::new(),
        "old tables keep a person"
    );

    let sources = client.ok("users/data-sources/list", json!({})).await;
    for projection in ["customers", "search"] {
        let output = server
            .command()
            .args(["rebuild", projection, "--roll-back"])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(
        client.ok("users/data-sources/list", json!({})).await,
        sources
    );
    client
        .ok("users/get", json!({"customer_user_id": "later"}))
        .await;
    let refused = json!({"customer_user_id": "gone"});
    client
        .refused("users/get", refused, 404, "customer_not_found")
        .await;
    settle(&client).await;
    let place = server.database().place().expect("a place");
    for (target, name) in TARGETS {
        rebuild(&place, target, &|_| {})
            .await
            .expect("it is rebuilt");
        assert_eq!(
            differences(server.database(), target, name).await,
            Vec::<String>::new()
        );
        drop_old(&place, target).await.expect("they are dropped");
        let nothing = roll_back(&place, target, &|_| {}).await;
        assert!(
            matches!(nothing, Err(RebuildError::NothingOld)),
            "{nothing:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_version_are_served_again_after_a_rebuild() {
    let mut server = Server::start().await.expect("a server");
    let client = typed_project(&server, "versions").await;
    populate(&client).await;
    settle(&client).await;
    server.stop().await.expect("it stops");
    let mut connection = server.database().superuser().await.expect("a connection");
    connection
        .execute("UPDATE log_checkpoints SET version = 0 WHERE name = 'directory'; UPDATE view_customers SET display_name = 'of an old build'")
        .await
        .expect("older tables");
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    until("the server refuses the old tables", async || {
        let ready = client.get("/readyz").await.ok();
        (ready["projections"][0]["error"] == "written_by_version_0").then_some(())
    })
    .await;
    let place = server.database().place().expect("a place");
    rebuild(&place, Target::Directory, &|_| {})
        .await
        .expect("it is rebuilt");
    let back = roll_back(&place, Target::Directory, &|_| {}).await;
    assert!(
        matches!(back, Err(RebuildError::OtherVersion { stored: 0, .. })),
        "{back:?}"
    );
    settle(&client).await;
    let read = client
        .ok("users/get", json!({"customer_user_id": "d1"}))
        .await;
    assert_eq!(read["display_name"], "Grace");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_table_is_rebuilt_by_one_projection() {
    let database = Database::create().await.expect("a database");
    let mut connection = database.superuser().await.expect("a connection");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'roster_main' AND tablename LIKE 'view\\_%'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let mut expected: BTreeSet<String> = tables.into_iter().collect();
    // Which streams are left out is no read model.
    assert!(expected.remove("view_parked"));
    let rebuilt: Vec<&str> = TARGETS
        .iter()
        .flat_map(|(target, _)| target.tables())
        .copied()
        .collect();
    let unique: BTreeSet<String> = rebuilt.iter().map(|table| (*table).to_owned()).collect();
    assert_eq!(unique.len(), rebuilt.len(), "a table is in two lists");
    assert_eq!(unique, expected);
}
