//! Many writers, one log: contiguous positions, exact versions, one winner per claim. Also with two servers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use roster_domain::Timestamp;
use roster_domain::customer::{Customer, CustomerCommand, CustomerEvent, decide};
use roster_domain::meta::Meta;
use roster_domain::schema::Schema;
use roster_domain::stream::{Claim, Stream};
use roster_store::{Cell, Project, Verdict, verify};
use roster_tests::database::Database;
use roster_tests::log::{schema_with_unique_email, scope, upsert};
use roster_tests::scale::asked;
use uuid::Uuid;

const WRITERS: usize = 64;
const CUSTOMERS: u32 = 1_000;
/// Fewer addresses than customers, so that claims are fought for and change hands.
const ADDRESSES: u32 = 400;

fn seconds() -> u64 {
    asked("ROSTER_HAMMER_SECONDS", 4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_leave_a_whole_log() {
    hammer(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_cell_leave_a_whole_log() {
    hammer(2).await;
}

async fn hammer(servers: usize) {
    let database = Database::create().await.expect("a database");
    let mut cells = Vec::new();
    for _ in 0..servers {
        cells.push(database.cell().await.expect("a cell"));
    }
    let project = cells[0]
        .cell
        .create_project(&scope("p"), Uuid::from_u128(rand::random()))
        .await
        .expect("a project");
    let schema = schema_with_unique_email();
    let till = Instant::now() + Duration::from_secs(seconds());
    let (accepted, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let cell = cells[writer % servers].cell.clone();
        let (project, schema) = (Arc::clone(&project), Arc::clone(&schema));
        let (accepted, lost) = (Arc::clone(&accepted), Arc::clone(&lost));
        tasks.spawn(async move {
            while Instant::now() < till {
                match write_once(&cell, &project, &schema).await {
                    Some(Verdict::Accepted { .. }) => accepted.fetch_add(1, Ordering::Relaxed),
                    _ => lost.fetch_add(1, Ordering::Relaxed),
                };
            }
        });
    }
    // The reader asserts contiguity inside `read_page`, on what is committed at that moment.
    let reader = cells[0].cell.clone();
    let mut after = 0;
    while Instant::now() < till {
        let page = reader.read_page(after, 500).await.expect("no hole");
        after = page.last().map_or(after, |last| last.position);
        tokio::task::yield_now().await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no writer fails");
    }
    // A fresh cell: a cache may be behind what another server wrote, the database may not.
    let fresh = database.cell().await.expect("a cell");
    check(&database, &fresh.cell, &project).await;
    fresh.close().await;
    let (accepted, lost) = (
        accepted.load(Ordering::Relaxed),
        lost.load(Ordering::Relaxed),
    );
    assert!(
        accepted > 100 && lost > 0,
        "{accepted} accepted, {lost} lost: the test did not hammer"
    );
    for cell in cells {
        cell.close().await;
    }
}

/// One random command as a server would run it: by the id's claim, decided on the loaded state, not retried.
async fn write_once(cell: &Cell, project: &Project, schema: &Arc<Schema>) -> Option<Verdict> {
    let (id, address, erase) = {
        let mut random = rand::rng();
        (
            random.random_range(0..CUSTOMERS),
            random.random_range(0..ADDRESSES),
            random.random_range(0..50) == 0,
        )
    };
    let id = format!("customer-{id}");
    let loaded = cell
        .load_holder::<Customer>(project, &Claim::customer_id(&id))
        .await
        .expect("a look-up");
    let loaded = loaded.unwrap_or_else(|| cell.new_stream(Uuid::from_u128(rand::random())));
    let command = if erase {
        CustomerCommand::Erase { at: Timestamp(1) }
    } else {
        upsert(
            schema,
            &id,
            &[("email", &format!("{address}@example.org"))],
            1,
        )
    };
    let events = decide(&loaded.state, &command)
        .ok()
        .filter(|events| !events.is_empty())?;
    let prepared = cell
        .prepare(project, &loaded, events, &Meta::default())
        .ok()?;
    Some(
        cell.append(prepared.guard(project.schema_stream, 0))
            .await
            .expect("an answer"),
    )
}

async fn check(database: &Database, cell: &Cell, project: &Project) {
    let mut superuser = database.superuser().await.expect("a connection");
    let (count, highest): (i64, i64) =
        sqlx::query_as("SELECT count(*), max(position) FROM log_events")
            .fetch_one(&mut superuser)
            .await
            .expect("a count");
    assert_eq!(count, highest, "gapless");

    let mut states: HashMap<Uuid, (i32, Customer)> = HashMap::new();
    let mut after = 0;
    loop {
        let page = cell.read_page(after, 5_000).await.expect("no hole");
        let Some(last) = page.last() else { break };
        after = last.position;
        for recorded in &page {
            let (version, state) = states.entry(recorded.stream).or_default();
            assert_eq!(recorded.version, *version + 1, "versions 1..n");
            *version = recorded.version;
            state.fold(recorded.decode::<CustomerEvent>().expect("it decodes"));
        }
    }
    // Claims are exactly what the folded states hold: no double winner, none lost, none left over.
    let mut expected: HashSet<(i16, Vec<u8>, Uuid)> = HashSet::new();
    for (stream, (_, state)) in &states {
        expected.extend(
            state
                .claims()
                .iter()
                .map(|claim| (claim.kind, project.claim_key(claim), *stream)),
        );
    }
    let stored: Vec<(i16, Vec<u8>, Uuid)> =
        sqlx::query_as("SELECT kind, key, stream_id FROM log_claims")
            .fetch_all(&mut superuser)
            .await
            .expect("claims");
    assert_eq!(stored.into_iter().collect::<HashSet<_>>(), expected);
    for (stream, (version, state)) in states.iter().filter(|(_, (_, state))| state.is_active()) {
        let loaded = cell
            .load::<Customer>(project, *stream)
            .await
            .expect("it loads");
        assert_eq!(
            (loaded.version, &*loaded.state),
            (*version, state),
            "the snapshot is the fold"
        );
    }
    let report = verify::verify(cell, |_, _| ()).await.expect("a report");
    assert_eq!(report.findings, []);
    assert_eq!(report.events, highest);
}
