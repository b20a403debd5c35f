//! What an import need not look at again, and what it must: a row is passed over only where applying it would change nothing.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roster_tests::client::Client;
use roster_tests::imports::{counts, import_text};
use roster_tests::server::Server;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Customers whom the file of the walk names.
const PEOPLE: usize = 12;
/// Steps of the walk.
const STEPS: usize = 60;

/// Members of an import's result that differ from one import to the next.
const OWN: [&str; 4] = ["import_id", "created_at", "started_at", "finished_at"];

/// A unique address, a number that may be unreadable, and at times a field more.
fn schema(has_plan: bool) -> Value {
    let mut fields = json!([
        {"name": "customer_user_id", "required": true, "unique": true},
        {"name": "email", "type": "email", "unique": true},
        {"name": "age", "type": "number"},
        {"name": "note"},
    ]);
    if has_plan {
        let plan = json!({"name": "plan", "allowed_values": ["Basic", "Premium"]});
        fields.as_array_mut().expect("a list").push(plan);
    }
    json!({"primary_key": "customer_user_id", "fields": fields})
}

async fn start() -> (Server, PgConnection) {
    let server = Server::start().await.expect("a server");
    let superuser = server.database().superuser().await.expect("a connection");
    (server, superuser)
}

async fn project(server: &Server, name: &str) -> Client {
    let client = Client::of_project(server, name).await.expect("a client");
    client.ok("schema/upsert", schema(false)).await;
    client
}

async fn known(superuser: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(digest) FROM job_sync_known")
        .fetch_one(superuser)
        .await
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_says_the_same_is_passed_over_without_a_look_at_the_customer() {
    let (server, mut superuser) = start().await;
    let client = project(&server, "p").await;
    let csv = "customer_user_id,email,age,note\n\
        a,a@example.org,7,\n\
        b,b@example.org,,x\n\
        c,c@example.org,seven,y\n\
        d,d@example.org,9,z\n\
        d,d@example.org,9,z\n";
    let import = async |options: Value| import_text(&client, csv, options).await;
    let first = import(json!({})).await;
    assert_eq!(counts(&first), [4, 0, 1, 0, 0]);
    // A value that cannot be read is told each time, and of two rows with one id the first may change what the second meets.
    assert_eq!(known(&mut superuser).await, 2);
    let skipped = import(json!({"on_conflict": "skip"})).await;
    assert_eq!(counts(&skipped), [0, 0, 0, 5, 0]);
    // Each provider knows rows for itself.
    let other = import(json!({"provider": "other", "empty_cells": "keep"})).await;
    assert_eq!(counts(&other), [0, 0, 5, 0, 0]);
    assert_eq!(known(&mut superuser).await, 4);
    assert_eq!(counts(&import(json!({})).await), [0, 0, 5, 0, 0]);
    assert_eq!(known(&mut superuser).await, 4);

    // Whoever looked at one of these would find a state that does not open.
    let spoilt = "UPDATE log_streams s SET state = '\\x00'
                    FROM job_sync_known k
                   WHERE k.stream_id = s.stream_id";
    let spoilt = sqlx::query(spoilt).execute(&mut superuser).await;
    assert_eq!(spoilt.expect("they are there").rows_affected(), 2);
    let again = import(json!({})).await;
    assert_eq!(counts(&again), [0, 0, 5, 0, 0]);
    assert_eq!(again["warnings"], first["warnings"]);
    let dry = import(json!({"dry_run": true})).await;
    assert_eq!(counts(&dry), [0, 0, 5, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_goes_with_the_customer_and_never_hides_a_change() {
    let (server, mut superuser) = start().await;
    let client = project(&server, "p").await;
    let csv =
        "customer_user_id,email,note\na,a@example.org,x\nb,b@example.org,y\nc,c@example.org,z\n";
    let import = async || counts(&import_text(&client, csv, json!({})).await);
    assert_eq!(import().await, [3, 0, 0, 0, 0]);
    assert_eq!(known(&mut superuser).await, 3);
    client.upsert("a", json!({"note": "by hand"})).await;
    client
        .ok("users/delete", json!({"customer_user_id": "b"}))
        .await;
    client
        .ok(
            "users/delete",
            json!({"customer_user_id": "c", "suppress": true}),
        )
        .await;
    let left = "SELECT count(*) FROM job_sync_known k JOIN log_streams s USING (stream_id) WHERE s.flags & 1 = 1";
    let left: i64 = sqlx::query_scalar(left)
        .fetch_one(&mut superuser)
        .await
        .expect("a count");
    assert_eq!((left, known(&mut superuser).await), (0, 1));
    assert_eq!(import().await, [1, 1, 0, 1, 0]);
    assert_eq!(import().await, [0, 0, 2, 1, 0]);
    assert_eq!(known(&mut superuser).await, 2);
}

/// A value that a later row of the same customer takes back reaches no append; whoever has it may be in no row, or in one that is
/// passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_somebody_else_is_refused_to_a_row_that_a_later_one_takes_back() {
    let (server, mut superuser) = start().await;
    let client = project(&server, "p").await;
    let import = async |rows: &str| {
        let csv = format!("customer_user_id,email,note\n{rows}");
        counts(&import_text(&client, &csv, json!({})).await)
    };
    let file = "a,a@example.org,x\nb,b@example.org,y\n";
    assert_eq!(import(file).await, [2, 0, 0, 0, 0]);
    let taken_back = "b,a@example.org,y\nb,b@example.org,y\n";
    assert_eq!(import(taken_back).await, [0, 0, 1, 0, 1]);
    let known = known(&mut superuser).await;
    assert_eq!(
        (
            import(&format!("a,a@example.org,x\n{taken_back}")).await,
            known
        ),
        ([0, 0, 2, 0, 1], 2)
    );
    // Where nobody has it, or the one who had it gave it up before, it is a value like any other.
    assert_eq!(
        import("b,c@example.org,y\nb,b@example.org,y\n").await,
        [0, 2, 0, 0, 0]
    );
    let given_up = format!("a,d@example.org,x\n{taken_back}");
    assert_eq!(import(&given_up).await, [0, 3, 0, 0, 0]);
}

fn one_of<const MANY: usize>(random: &mut StdRng, of: [&'static str; MANY]) -> &'static str {
    of[random.random_range(0..MANY)]
}

/// A row of the file: it says one of a few things.
fn row(random: &mut StdRng, person: usize) -> String {
    let owner = if random.random_bool(0.1) {
        random.random_range(0..PEOPLE)
    } else {
        person
    };
    let spelling = one_of(random, ["", " ", "\""]);
    let id = match spelling {
        "\"" => format!("\"p{person}\""),
        blank => format!("{blank}p{person}"),
    };
    let age = one_of(random, ["", "7", "8", "many"]);
    let note = one_of(random, ["", "x", "y"]);
    let plan = one_of(random, ["", "Basic", "Gold"]);
    format!("{id},e{owner}@example.org,{age},{note},{plan}")
}

/// The same steps, at random, in a project that knows rows again and in one that never does, come to the same.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_rows_again_comes_to_the_same() {
    let (server, mut superuser) = start().await;
    let clients = [
        project(&server, "knows").await,
        project(&server, "forgets").await,
    ];
    let seed: u64 = rand::random();
    eprintln!("a walk by the seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut rows: Vec<String> = (0..PEOPLE).map(|person| row(&mut random, person)).collect();
    let mut most_known = 0;
    for step in 0..STEPS {
        let person = random.random_range(0..PEOPLE);
        let id = format!("p{person}");
        match random.random_range(0..12) {
            0 => {
                for client in &clients {
                    client
                        .post(
                            "users/upsert",
                            json!({
                                "customer_user_id": id, "profile": {"note": format!("step {step}")},
                            }),
                        )
                        .await;
                }
            }
            1 => {
                let suppress = random.random_bool(0.3);
                for client in &clients {
                    let members = json!({"customer_user_id": id, "suppress": suppress});
                    client.post("users/delete", members).await;
                }
            }
            2 => {
                let has_plan = random.random_bool(0.5);
                for client in &clients {
                    client.ok("schema/upsert", schema(has_plan)).await;
                }
            }
            _ => {
                for _ in 0..random.random_range(0..3) {
                    let person = random.random_range(0..PEOPLE);
                    rows[person] = row(&mut random, person);
                }
                let mut csv = String::from("customer_user_id,email,age,note,plan\n");
                for line in &rows {
                    let _ = writeln!(csv, "{line}");
                }
                if random.random_bool(0.2) {
                    let _ = writeln!(csv, "{}", row(&mut random, person));
                }
                let options = json!({
                    "provider": one_of(&mut random, ["x", "x", "x", "y"]),
                    "on_conflict": one_of(&mut random, ["update", "update", "update", "skip"]),
                    "empty_cells": one_of(&mut random, ["keep", "keep", "keep", "clear"]),
                    "dry_run": random.random_bool(0.1),
                });
                let forget = "DELETE FROM job_sync_known k
                               USING log_streams s
                                JOIN roster_control.projects p USING (project_no)
                               WHERE s.stream_id = k.stream_id AND p.project_id = 'forgets'";
                sqlx::query(forget)
                    .execute(&mut superuser)
                    .await
                    .expect("a change");
                most_known = most_known.max(known(&mut superuser).await);
                let mut results = Vec::new();
                for client in &clients {
                    let mut result = import_text(client, &csv, options.clone()).await;
                    let members = result.as_object_mut().expect("an object");
                    members.retain(|name, _| !OWN.contains(&name.as_str()));
                    results.push(result);
                }
                assert_eq!(
                    results[0], results[1],
                    "step {step} of {seed}: {options}\n{csv}"
                );
            }
        }
    }
    assert!(most_known > 0, "{seed}: nothing was ever known");
    let mut exports = Vec::new();
    for client in &clients {
        exports.push(client.post("users/export-csv", json!({})).await.text());
    }
    assert_eq!(exports[0], exports[1], "{seed}");
}
