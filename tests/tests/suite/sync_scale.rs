//! Sources as large as those of real tenants, through the server: after each run the directory holds what the source holds, record
//! by record. The figures of a long version are printed.

use roster_fakes::{Fake, Vendor};
use roster_tests::client::Client;
use roster_tests::scale::asked;
use roster_tests::server::Server;
use roster_tests::syncs::{self, assert_same, connected, count, held, peak_memory, synced, there};
use roster_tests::until::until;
use serde_json::{Value, json};

/// Of a search of `HubSpot`, when the source is as large as one of a real tenant.
const CAP: u64 = 10_000;
/// The most memory that a server may ever have, in MiB.
const MOST_MEMORY: u64 = 400;

/// Records of a source whose runs are held against it.
fn records() -> u64 {
    asked("ROSTER_SYNC_RECORDS", 3_000)
}

/// Records of a source whose runs are weighed.
fn many_records() -> u64 {
    asked("ROSTER_SYNC_MANY", 3_000)
}

async fn served(fake: &Fake) -> (Server, Client, Value) {
    let server = syncs::server(&[fake], &[]).await.expect("a server");
    let client = Client::of_project(&server, "scale")
        .await
        .expect("a client");
    let connection = connected(&client, fake).await;
    (server, client, connection)
}

/// What a run did, and that afterwards nothing differs.
async fn settled(what: &str, client: &Client, fake: &Fake, run: &Value) {
    eprintln!(
        "{what}: {} ms, of all runs the fake {:?}, {}",
        run["duration_ms"],
        fake.busy(),
        run["counts"]
    );
    assert_same(&held(client).await, &there(fake));
}

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_is_followed_through_many_changes_at_one_instant_and_a_late_index() {
    let all = records();
    // A smaller source meets the end of a search as well: it comes earlier.
    let cap = CAP.min(all / 6);
    let at_once = cap + cap / 4;
    let fake = Fake::start(Vendor::Hubspot).await;
    fake.fill(all);
    fake.world(|world| world.found_at_most = usize::try_from(cap).expect("a few"));
    let (_server, client, connection) = served(&fake).await;
    let incremental = async |what: &str, updated: u64, created: u64| {
        let run = synced(&client, &connection, "incremental").await;
        assert_eq!(count(&run, "updated"), updated, "{what}: {run}");
        assert_eq!(count(&run, "created"), created, "{what}: {run}");
        run
    };

    let first = synced(&client, &connection, "full").await;
    assert_eq!(count(&first, "created"), all, "{first}");
    settled("everything", &client, &fake, &first).await;

    let hundredth = all / 100;
    fake.world(|world| {
        for no in 1..=hundredth {
            world.change(no * 100);
        }
    });
    let run = incremental("one in a hundred", hundredth, 0).await;
    settled("one in a hundred", &client, &fake, &run).await;
    assert!(count(&run, "read") < all / 2, "not everything: {run}");

    fake.world(|world| world.change_at_once((1..=at_once).map(|no| no * 2)));
    let run = incremental("many at one instant", at_once, 0).await;
    settled("many at one instant", &client, &fake, &run).await;

    // The cursor stands at that instant: all of them are read again, and nothing else happens.
    let run = incremental("again", 0, 0).await;
    assert!(count(&run, "unchanged") >= at_once, "{run}");
    settled("again", &client, &fake, &run).await;

    // Somebody changes, somebody comes, and both are in the index only after changes that were made later.
    fake.fill(1);
    fake.world(|world| {
        world.change(7);
        world.late.extend([7, all + 1]);
        for no in 1_001..=1_100.min(all) {
            world.change(no);
        }
    });
    let run = incremental("what the index has", 1_100.min(all) - 1_000, 0).await;
    let (has, source) = (held(&client).await, there(&fake));
    assert!(!has.contains_key(&fake.id(all + 1)), "not yet: {run}");
    assert_ne!(has[&fake.id(7)], source[&fake.id(7)], "not yet: {run}");
    fake.world(|world| world.late.clear());
    let run = incremental("what came late", 1, 1).await;
    settled("what came late", &client, &fake, &run).await;

    let run = synced(&client, &connection, "full").await;
    assert_eq!(count(&run, "unchanged"), all + 1, "{run}");
    settled("everything again", &client, &fake, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_is_read_whole_by_a_token_and_its_changes_are_found() {
    let all = records();
    let fake = Fake::start(Vendor::GoogleSheets).await;
    fake.fill(all);
    let (_server, client, connection) = served(&fake).await;
    let first = synced(&client, &connection, "full").await;
    assert_eq!(count(&first, "created"), all, "{first}");
    settled("a sheet", &client, &fake, &first).await;
    fake.fill(3);
    fake.world(|world| {
        for no in 1..=all / 100 {
            world.change(no * 100);
        }
    });
    let run = synced(&client, &connection, "full").await;
    let counts = ["created", "updated", "unchanged"].map(|name| count(&run, name));
    assert_eq!(counts, [3, all / 100, all - all / 100], "{run}");
    settled("a sheet again", &client, &fake, &run).await;
    let asked = fake
        .asks()
        .iter()
        .filter(|ask| ask.path == "/token")
        .count();
    assert!(asked >= 2, "a token was got: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_source_of_pages_takes_little_memory_and_a_second_look_less_time() {
    weigh(Vendor::Hubspot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_takes_little_memory_and_a_second_look_less_time() {
    weigh(Vendor::CsvUrl).await;
}

/// Waits until everything that was written can be searched.
async fn indexed(client: &Client) {
    let position = format!("1:{}", client.head().await);
    let reader = client.with_header("roster-min-position", &position);
    until("the search index", async || {
        let answer = reader
            .post("users/list", json!({"search": "person", "page_size": 1}))
            .await;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Fills a directory, changes one record in twenty, and reads everything again.
async fn weigh(vendor: Vendor) {
    let (all, fake) = (many_records(), Fake::start(vendor).await);
    fake.fill(all);
    let (server, client, connection) = served(&fake).await;
    let mut took = Vec::new();
    for (created, updated) in [(all, 0), (0, all / 20)] {
        let before = fake.busy();
        fake.world(|world| {
            for no in 1..=updated {
                world.change(no * 20);
            }
        });
        let run = synced(&client, &connection, "full").await;
        let counts = ["created", "updated", "unchanged"].map(|name| count(&run, name));
        assert_eq!(counts, [created, updated, all - created - updated], "{run}");
        let millis = run["duration_ms"].as_f64().expect("a duration");
        eprintln!(
            "{}, {all} records: {millis} ms, of which the fake {:?}; at most {} MiB so far",
            fake.provider(),
            fake.busy().saturating_sub(before),
            peak_memory(&server).expect("a figure")
        );
        took.push(millis);
        // What the first run left to be indexed is no part of the second.
        indexed(&client).await;
    }
    eprintln!(
        "{}: {:.1} times as fast",
        fake.provider(),
        took[0] / took[1]
    );
    let peak = peak_memory(&server).expect("a figure");
    assert!(peak < MOST_MEMORY, "{peak} MiB");
    assert_same(&held(&client).await, &there(&fake));
}
