//! Runs that start by themselves: when they are due, once for all that were missed, and not while their connection pauses.

use std::sync::Arc;
use std::time::Duration;

use roster_commands::clock::{Clock, FixedClock, SystemIds};
use roster_commands::sync::next_run_at;
use roster_commands::sync::source::SourceError;
use roster_commands::{Directory, Limits, RunInput, Syncing};
use roster_domain::Timestamp;
use roster_domain::connection::{Connection, Schedule};
use roster_domain::sync_run::{RunStatus, SyncRun, Trigger};
use roster_http::ProjectedRows;
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::scripted::{
    Event, Scripted, connection, ended, people, person, quick, run, save, saved,
};
use roster_tests::until::until;

const PROJECT: &str = "prj_schedule";
const DAY: i64 = 86_400;
/// By how much a start is moved at most, in seconds.
const JITTER: i64 = 60;

struct Stage {
    node: Node,
    clock: Arc<FixedClock>,
    source: Scripted,
    _database: Database,
}

impl Stage {
    /// It is noon, in UTC.
    async fn new() -> Self {
        let (database, source) = (
            Database::create().await.expect("a database"),
            Scripted::new(10),
        );
        let noon: Timestamp =
            serde_json::from_value("2026-03-02T12:00:00Z".into()).expect("a time");
        let clock = Arc::new(FixedClock::at(noon));
        let mut node = Node::start(&database, "clock", Limits::default())
            .await
            .expect("a node");
        let rows = Arc::new(ProjectedRows::new(node.projections.clone()));
        let sources = Syncing::new(vec![Arc::new(source.clone())], rows);
        let directory = Directory::new(
            node.cell().clone(),
            Arc::<FixedClock>::clone(&clock),
            Arc::new(SystemIds),
            Limits::default(),
        );
        node.directory = directory.with_syncing(sources);
        Self {
            node,
            clock,
            source,
            _database: database,
        }
    }

    async fn connection(&self, id: &str) -> Connection {
        saved(&self.node, PROJECT, id).await
    }

    /// The run that comes after another one by itself.
    async fn next(&self, id: &str, before: Option<uuid::Uuid>) -> SyncRun {
        let next = until("a run by the schedule", async || {
            let last = self.connection(id).await.last_run;
            last.filter(|last| Some(*last) != before)
        })
        .await;
        ended(&self.node, PROJECT, next).await
    }

    /// A run that somebody asks for. Schedules are looked at before it is taken on, so they started no more than `others`.
    async fn by_hand(&self, id: &str, others: i64) -> SyncRun {
        let input = RunInput {
            connection_id: id.into(),
            ..RunInput::default()
        };
        let done = run(&self.node, PROJECT, &input).await;
        assert_eq!(done.status, RunStatus::Succeeded, "{:?}", done.code);
        let by_schedule: i64 =
            sqlx::query_scalar("SELECT count(*) FROM view_sync_runs WHERE trigger = 'schedule'")
                .fetch_one(self.node.cell().pool())
                .await
                .expect("a count");
        assert_eq!(by_schedule, others);
        done
    }
}

fn daily(hour: u8) -> Schedule {
    Schedule {
        cron: format!("0 {hour} * * *"),
        time_zone: "Europe/Berlin".into(),
    }
}

#[tokio::test]
async fn a_schedule_fires_when_it_is_due_and_once_for_what_was_missed() {
    let stage = Stage::new().await;
    stage.source.hold(people(12));
    let input = roster_commands::ConnectionInput {
        schedule: Some(Some(daily(3))),
        full_schedule: Some(Some(Schedule {
            cron: "0 4 * * 0".into(),
            time_zone: "Europe/Berlin".into(),
        })),
        ..connection("Nightly")
    };
    let id = save(&stage.node, PROJECT, &input).await;
    let _jobs = stage.node.start_jobs_with(quick());
    stage.by_hand(&id, 0).await;
    let due = next_run_at(&stage.connection(&id).await).expect("a time");
    let three: Timestamp = serde_json::from_value("2026-03-03T02:00:00Z".into()).expect("a time");
    assert!(
        (0..JITTER * 1_000_000).contains(&(due.0 - three.0)),
        "{due}"
    );

    // Not a second before.
    stage
        .clock
        .advance((due.0 - stage.clock.now().0) / 1_000_000 - 1);
    let early = stage.by_hand(&id, 0).await;
    stage.source.hold(vec![person(1, "Another", 9)]);
    stage.clock.advance(1);
    let nightly = stage.next(&id, Some(early.id)).await;
    assert_eq!(
        (nightly.trigger, nightly.is_full),
        (Trigger::Schedule, false)
    );
    assert_eq!(
        (nightly.status, nightly.counts.updated),
        (RunStatus::Succeeded, 1)
    );

    // Five nights and a Sunday without a server: one run, and it is the full one.
    stage.clock.advance(6 * DAY);
    let weekly = stage.next(&id, Some(nightly.id)).await;
    assert_eq!((weekly.trigger, weekly.is_full), (Trigger::Schedule, true));
    stage.by_hand(&id, 2).await;
    let next = next_run_at(&stage.connection(&id).await).expect("a time");
    assert!(next.0 > stage.clock.now().0, "{next}");
    stage.node.close().await;
}

#[tokio::test]
async fn three_failures_in_a_row_pause_a_schedule_until_it_is_saved_again() {
    let stage = Stage::new().await;
    stage.source.hold(people(2));
    let input = roster_commands::ConnectionInput {
        schedule: Some(Some(daily(3))),
        ..connection("Nightly")
    };
    let id = save(&stage.node, PROJECT, &input).await;
    let options = roster_commands::SyncOptions {
        attempts: 1,
        backoff: Duration::from_millis(1),
        ..quick()
    };
    let _jobs = stage.node.start_jobs_with(options);
    let mut last = None;
    for _ in 0..3 {
        stage
            .source
            .script([Event::Fail(SourceError::Transient("no".into()))]);
        stage.clock.advance(DAY);
        let failed = stage.next(&id, last).await;
        assert_eq!(failed.status, RunStatus::Failed);
        last = Some(failed.id);
    }
    let paused = stage.connection(&id).await;
    assert_eq!(paused.paused_reason.as_deref(), Some("failed_three_times"));
    assert_eq!(next_run_at(&paused), None);
    stage.clock.advance(3 * DAY);
    let input = roster_commands::ConnectionInput {
        connection_id: Some(id.clone()),
        ..input
    };
    save(&stage.node, PROJECT, &input).await;
    let resumed = stage.next(&id, last).await;
    assert_eq!(resumed.trigger, Trigger::Schedule);
    assert_eq!(resumed.status, RunStatus::Succeeded);
    stage.node.close().await;
}
