//! A run whose server is killed goes on with the next one: nothing twice, nothing lost.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use roster_commands::{ConnectionInput, RunInput, SyncOptions};
use roster_domain::connection::{DeleteMissing, Mode};
use roster_domain::sync_run::RunStatus;
use roster_tests::cluster::cluster;
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::scripted::{Scripted, connection, ended, people, quick, rows, run, save, state};
use roster_tests::until::until;
use sqlx::Executor;
use uuid::Uuid;

const PROJECT: &str = "prj_crash";
/// Names the database of a server that is to be killed.
const CHILD: &str = "ROSTER_SYNC_CHILD";
/// Records of the source, and of a page.
const RECORDS: usize = 1_000;
const PAGE: usize = 50;
/// Kills.
const KILLS: u64 = 3;

/// Records of a page that is larger than an append.
const LARGE: usize = 10_000;

/// The source, as every process has it.
fn source(count: usize, page: usize) -> Scripted {
    let source = Scripted::new(page);
    source.hold(people(count));
    source
}

fn slow() -> SyncOptions {
    SyncOptions {
        page_pause: Some(Duration::from_millis(40)),
        ..quick()
    }
}

/// The server that is killed: this test in a process of its own, where the environment names a database.
#[tokio::test]
async fn a_server_that_only_runs_jobs() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a process tells its child what it is"
    )]
    let Ok(child) = std::env::var(CHILD) else {
        return;
    };
    let words: Vec<&str> = child.split(' ').collect();
    let [name, count, page] = words[..] else {
        panic!("a name and two numbers: {child}")
    };
    let number = |text: &str| text.parse().expect("a number");
    let database = Database::of_another(name).expect("a database");
    let sources: Vec<Arc<dyn roster_commands::sync::source::Source>> =
        vec![Arc::new(source(number(count), number(page)))];
    let node = Node::start_with_sources(&database, "killed", sources)
        .await
        .expect("a node");
    let _jobs = node.start_jobs_with(slow());
    std::future::pending::<()>().await;
}

fn start_child(database: &Database, count: usize, page: usize) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "sync_crash::a_server_that_only_runs_jobs"])
        .env(CHILD, format!("{} {count} {page}", database.name()))
        .env("ROSTER_TEST_DATABASE_URL", &cluster().database_url)
        .env("ROSTER_TEST_NATS_URL", &cluster().nats_url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

async fn start(node: &Node, connection_id: &str) -> Uuid {
    let input = RunInput {
        connection_id: connection_id.into(),
        ..RunInput::default()
    };
    let started = node
        .directory
        .start_sync(&Node::context(PROJECT), &input)
        .await;
    started.expect("no other run").value.run_id
}

#[tokio::test]
async fn a_killed_run_goes_on_where_it_stood() {
    let database = Database::create().await.expect("a database");
    let node = Node::start_with_sources(&database, "asks", vec![Arc::new(source(RECORDS, PAGE))])
        .await
        .expect("a node");
    let input = ConnectionInput {
        mode: Some(Mode::Full),
        delete_missing: Some(DeleteMissing::Delete),
        ..connection("CRM")
    };
    let id = save(&node, PROJECT, &input).await;
    let run_id = start(&node, &id).await;
    let mut superuser = database.superuser().await.expect("a connection");
    for kill in 0..KILLS {
        let mut child = start_child(&database, RECORDS, PAGE);
        let before = state(&node, PROJECT, run_id).await.pages;
        until("some pages", async || {
            let pages = state(&node, PROJECT, run_id).await.pages;
            (pages > before + kill).then_some(())
        })
        .await;
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        let now = state(&node, PROJECT, run_id).await;
        assert!(!now.status.is_final(), "killed half-way: {:?}", now.status);
        sqlx::query("UPDATE job_leases SET leased_till = 'epoch'")
            .execute(&mut superuser)
            .await
            .expect("a lease");
    }
    // The projections' leases of the killed process end by themselves.
    let _jobs = node.start_jobs_with(quick());
    let done = ended(&node, PROJECT, run_id).await;
    assert_eq!(done.status, RunStatus::Succeeded, "{:?}", done.code);
    assert_eq!(done.counts.created, RECORDS as u64, "each of them once");
    assert_eq!(done.counts.total(), RECORDS as u64);
    assert_eq!(done.removals.removed_at_source, 0, "earlier pages count");
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), RECORDS);
    let registered: i64 = sqlx::query_scalar("SELECT count(*) FROM log_events WHERE type_no = 1")
        .fetch_one(&mut superuser)
        .await
        .expect("a count");
    assert_eq!(registered, i64::try_from(RECORDS).expect("a few"));
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM job_sync_seen")
        .fetch_one(&mut superuser)
        .await
        .expect("a count");
    assert_eq!(seen, 0, "what was seen is forgotten");
    let known: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(s.stream_id) FROM job_sync_known LEFT JOIN log_streams s USING (stream_id)",
    )
    .fetch_one(&mut superuser)
    .await
    .expect("a count");
    assert_eq!(
        known,
        (registered, registered),
        "nobody who was never written"
    );
    let again = RunInput {
        connection_id: id,
        ..RunInput::default()
    };
    let again = run(&node, PROJECT, &again).await;
    assert_eq!(again.counts.unchanged, RECORDS as u64);
    node.close().await;
}

#[tokio::test]
async fn a_kill_within_a_page_that_is_larger_than_an_append_counts_nobody_twice() {
    let database = Database::create().await.expect("a database");
    let node = Node::start_with_sources(&database, "asks", vec![Arc::new(source(LARGE, LARGE))])
        .await
        .expect("a node");
    let mut superuser = database.superuser().await.expect("a connection");
    // Between two parts of the page there is time to kill.
    let slow = "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql
                AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$;
                CREATE TRIGGER slow BEFORE INSERT ON job_sync_seen
                FOR EACH STATEMENT EXECUTE FUNCTION public.slow()";
    superuser.execute(slow).await.expect("a trigger");
    let input = ConnectionInput {
        mode: Some(Mode::Full),
        ..connection("CRM")
    };
    let run_id = start(&node, &save(&node, PROJECT, &input).await).await;
    let mut child = start_child(&database, LARGE, LARGE);
    until("a part of the page", async || {
        let counts = state(&node, PROJECT, run_id).await.counts;
        (counts.total() > 0).then_some(())
    })
    .await;
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let now = state(&node, PROJECT, run_id).await;
    assert_eq!(now.pages, 0, "killed within the page");
    for sql in [
        "UPDATE job_leases SET leased_till = 'epoch'",
        "DROP TRIGGER slow ON job_sync_seen",
    ] {
        superuser.execute(sql).await.expect("it is done");
    }
    let _jobs = node.start_jobs_with(quick());
    let done = ended(&node, PROJECT, run_id).await;
    assert_eq!(done.status, RunStatus::Succeeded, "{:?}", done.code);
    let counts = (done.counts.created, done.counts.total(), done.pages);
    assert_eq!(counts, (LARGE as u64, LARGE as u64, 1));
    node.close().await;
}
