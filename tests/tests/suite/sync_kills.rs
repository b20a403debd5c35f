//! A server that is killed in the middle of one run after the other: each goes on where it stood, and nothing is lost or done twice.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roster_fakes::{Fake, Fault, Vendor};
use roster_tests::client::Client;
use roster_tests::scale::asked;
use roster_tests::syncs::{self, assert_same, connection, count, ended, held, there};
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// People when it begins, and of a page.
const PEOPLE: u64 = 400;
const PAGE: u64 = 20;
/// The longest time between a page that does not come and the kill, in milliseconds: the page before is being written.
const LATER: u64 = 40;

/// How often each name of an event stands in the log.
async fn events(superuser: &mut PgConnection) -> BTreeMap<String, u64> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT t.name, count(*)
           FROM log_events e
           JOIN log_types t USING (type_no, type_version)
          GROUP BY t.name",
    )
    .fetch_all(superuser)
    .await
    .expect("the log");
    let counted = rows
        .into_iter()
        .map(|(name, count)| (name, u64::try_from(count).expect("a count")));
    counted.collect()
}

/// Two requests for a run at once: one is refused with the id of the other one, which is returned.
async fn started_once(client: &Client, members: &Value) -> Value {
    let (one, other) = tokio::join!(
        client.post("connections/sync", members.clone()),
        client.post("connections/sync", members.clone())
    );
    let (started, refused) = if one.status == 202 {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(started.status, 202, "{started}");
    let run_id = started.json()["run_id"].clone();
    let detail = refused.refused(409, "run_in_progress");
    assert_eq!(detail["run_id"], run_id, "{refused}");
    run_id
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_runs_that_are_killed_on_their_way_go_on_and_count_everybody_once() {
    let kills: u64 = asked("ROSTER_SYNC_KILLS", 10);
    let seed: u64 = asked("ROSTER_SEED", rand::random());
    eprintln!("ROSTER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let fake = Fake::start(Vendor::Hubspot).await;
    fake.fill(PEOPLE);
    fake.world(|world| world.page = usize::try_from(PAGE).ok());
    let mut server = syncs::server(&[&fake], &[]).await.expect("a server");
    let mut client = Client::of_project(&server, "kills")
        .await
        .expect("a client");
    client.ok("schema/upsert", syncs::schema()).await;
    let mut settings = connection(&fake);
    settings["delete_missing"] = json!("delete");
    settings["full_schedule"] = json!({"cron": "0 0 29 2 *"});
    let saved = client.ok("connections/upsert", settings).await;
    let mut superuser = server.database().superuser().await.expect("a connection");
    let (mut created, mut updated, mut deleted) = (0, 0, 0);
    for round in 0..kills {
        let (mut news, mut changes, mut goes) = (PEOPLE, 0, 0);
        let is_full = round % 3 == 0;
        if round > 0 {
            (news, changes) = (5, PEOPLE / 3);
            goes = if is_full { 3 } else { 0 };
            fake.fill(news);
            let first = random.random_range(50..200);
            fake.world(|world| {
                (first..first + changes).for_each(|no| world.change(no));
                (0..goes).for_each(|no| world.remove(round * 3 + no));
            });
        }
        // This page never comes to its end.
        let pages = (if is_full { PEOPLE } else { changes }) / PAGE;
        let hangs = random.random_range(2..=pages);
        let before = fake.asks().len();
        fake.fault(usize::try_from(hangs).expect("a few"), Fault::Trickle);
        let mode = if is_full { "full" } else { "incremental" };
        let members = json!({"connection_id": saved["connection_id"], "mode": mode});
        let run_id = started_once(&client, &members).await;
        until("the page that hangs", async || {
            (fake.asks().len() as u64 >= before as u64 + hangs).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..LATER))).await;
        server.kill().expect("it runs");
        // What the killed server held is anybody's at once.
        for table in ["job_leases", "log_checkpoints"] {
            sqlx::query(&format!("UPDATE {table} SET leased_till = 'epoch'"))
                .execute(&mut superuser)
                .await
                .expect("leases");
        }
        server.restart().await.expect("it starts again");
        client = client.at(&server);
        let run = ended(&client, &run_id).await;
        assert_eq!(run["status"], "succeeded", "round {round}: {run}");
        let counts = ["created", "updated", "deleted"].map(|name| count(&run, name));
        assert_eq!(counts, [news, changes, goes], "round {round}: {run}");
        let everybody = there(&fake);
        if is_full {
            assert_eq!(count(&run, "read"), everybody.len() as u64, "{run}");
        }
        assert_same(&held(&client).await, &everybody);
        created += news;
        updated += changes;
        deleted += goes;
        let log = events(&mut superuser).await;
        let of = |name: &str| log.get(name).copied().unwrap_or_default();
        assert_eq!(of("customer.registered"), created, "round {round}: {log:?}");
        assert_eq!(of("customer.updated"), updated, "round {round}: {log:?}");
        assert_eq!(of("customer.erased"), deleted, "round {round}: {log:?}");
        assert_eq!(
            of("sync_run.interrupted"),
            round + 1,
            "each was cut: {log:?}"
        );
        assert_eq!(of("sync_run.finished"), round + 1, "{log:?}");
    }
}
