//! Who goes when records go: only after a clean walk through everything, only below the guard, and never another source's row.

use std::sync::Arc;

use roster_commands::sync::source::{Record, SourceError};
use roster_commands::{ConnectionInput, RunInput, UpsertInput};
use roster_domain::connection::{DeleteMissing, Mode};
use roster_domain::sync_run::{Removals, RunStatus, SyncRun};
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::scripted::{Event, Scripted, connection, people, quick, rows, run, save};

const PROJECT: &str = "prj_gone";

fn deleting(name: &str) -> ConnectionInput {
    ConnectionInput {
        mode: Some(Mode::Full),
        delete_missing: Some(DeleteMissing::Delete),
        ..connection(name)
    }
}

fn of(id: &str) -> RunInput {
    RunInput {
        connection_id: id.into(),
        ..RunInput::default()
    }
}

async fn start() -> (Database, Node, Scripted) {
    let source = Scripted::new(10);
    let database = Database::create().await.expect("a database");
    let node = Node::start_with_sources(&database, "sync", vec![Arc::new(source.clone())])
        .await
        .expect("a node");
    (database, node, source)
}

fn removals(run: &SyncRun) -> (u64, u64, u64) {
    let Removals {
        disabled,
        deleted,
        held_back,
        ..
    } = run.removals;
    (disabled, deleted, held_back)
}

/// A connection of its own project with so many people.
async fn filled(node: &Node, source: &Scripted, project: &str, count: usize) -> String {
    source.hold(people(count));
    let id = save(node, project, &deleting("CRM")).await;
    let first = run(node, project, &of(&id)).await;
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.code);
    id
}

#[tokio::test]
async fn rows_go_below_the_guard_and_are_held_back_above_it_until_somebody_agrees() {
    let (_database, node, source) = start().await;
    let _jobs = node.start_jobs_with(quick());
    for (before, after, expected) in [
        (100, 81, (0, 19, 0)),
        (100, 79, (0, 0, 21)),
        (3, 2, (0, 0, 1)),
        (5, 0, (0, 0, 5)),
    ] {
        let project = format!("prj_{before}_{after}");
        let id = filled(&node, &source, &project, before).await;
        source.hold(people(after));
        let done = run(&node, &project, &of(&id)).await;
        assert_eq!(removals(&done), expected, "{project}");
        let held = expected.2 > 0;
        let status = if held {
            RunStatus::CompletedWithErrors
        } else {
            RunStatus::Succeeded
        };
        assert_eq!(done.status, status, "{project}");
        let left = if held { before } else { after };
        assert_eq!(rows(&node, &project, &id).await.0.len(), left);
        if held {
            let agreed = RunInput {
                confirms_deletes: true,
                ..of(&id)
            };
            let done = run(&node, &project, &agreed).await;
            assert_eq!(removals(&done), (0, expected.2, 0), "{project}");
            assert_eq!(rows(&node, &project, &id).await.0.len(), after);
        }
    }
    node.close().await;
}

#[tokio::test]
async fn a_walk_that_fails_half_way_takes_nobody_away() {
    let (_database, node, source) = start().await;
    let _jobs = node.start_jobs_with(quick());
    let id = filled(&node, &source, PROJECT, 30).await;
    source.script([
        Event::Answer,
        Event::Fail(SourceError::Answer("a page of HTML".into())),
    ]);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(done.status, RunStatus::Failed);
    assert_eq!(removals(&done), (0, 0, 0));
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 30);
    // A walk that begins anew counts only what it sees from then on, and it sees everybody.
    source.script([
        Event::Answer,
        Event::Answer,
        Event::Fail(SourceError::PlaceGone("expired".into())),
    ]);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(done.status, RunStatus::Succeeded);
    assert_eq!(removals(&done), (0, 0, 0));
    node.close().await;
}

#[tokio::test]
async fn an_adopted_row_is_at_most_switched_off_and_another_sources_row_is_left() {
    let (_database, node, source) = start().await;
    let _jobs = node.start_jobs_with(quick());
    let context = Node::context(PROJECT);
    let by_hand = UpsertInput {
        customer_user_id: Some("p0@example.org".into()),
        ..UpsertInput::default()
    };
    node.directory
        .upsert_customer(&context, by_hand)
        .await
        .expect("a customer");
    source.hold(people(20));
    let other = save(&node, PROJECT, &connection("Other")).await;
    let of_other = {
        source.hold(people(20)[19..].to_vec());
        run(&node, PROJECT, &of(&other)).await
    };
    assert_eq!(of_other.counts.created, 1);
    let id = filled(&node, &source, PROJECT, 20).await;
    // Without the adopted one, the other connection's, and one of its own.
    source.hold(people(20)[2..19].to_vec());
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(removals(&done), (1, 1, 0));
    let (on, off) = rows(&node, PROJECT, &id).await;
    assert_eq!((on.len(), off), (17, vec!["p0@example.org".to_owned()]));
    assert_eq!(rows(&node, PROJECT, &other).await.0, ["p19@example.org"]);
    // Again: nothing is left to take away, and nothing counts against the guard.
    let again = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(removals(&again), (0, 0, 0));
    // The record comes back.
    source.hold(people(19));
    let back = run(&node, PROJECT, &of(&id)).await;
    assert_eq!((back.counts.created, back.counts.updated), (1, 1));
    assert_eq!(rows(&node, PROJECT, &id).await.1, Vec::<String>::new());
    node.close().await;
}

#[tokio::test]
async fn records_that_fail_take_nobody_away() {
    let (_database, node, source) = start().await;
    let _jobs = node.start_jobs_with(quick());
    let id = filled(&node, &source, PROJECT, 20).await;
    let mut records = people(20);
    records[7].fields.remove("email");
    source.hold(records);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(done.counts.failed, 1);
    assert_eq!(removals(&done), (0, 0, 0));
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 20);
    node.close().await;
}

#[tokio::test]
async fn what_the_source_says_to_be_gone_goes_in_a_run_of_changes_too() {
    let (_database, node, source) = start().await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(20));
    let input = ConnectionInput {
        mode: Some(Mode::Incremental),
        ..deleting("CRM")
    };
    let id = save(&node, PROJECT, &input).await;
    run(&node, PROJECT, &of(&id)).await;
    let gone = |id: usize, updated: u64| {
        let mut record = roster_tests::scripted::person(id, "", updated);
        record.deleted = true;
        record
    };
    source.hold(vec![gone(3, 5), gone(4, 5)]);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!((done.counts.total(), removals(&done)), (0, (0, 2, 0)));
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 18);
    // Too many at once: they wait, and the next run looks at everything.
    let many: Vec<Record> = (5..12).map(|id| gone(id, 9)).collect();
    source.hold(many);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(removals(&done), (0, 0, 7));
    assert_eq!(done.status, RunStatus::CompletedWithErrors);
    source.hold(people(20)[12..].to_vec());
    let agreed = RunInput {
        confirms_deletes: true,
        ..of(&id)
    };
    let done = run(&node, PROJECT, &agreed).await;
    assert!(done.is_full);
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 8);
    node.close().await;
}

#[tokio::test]
async fn who_is_told_to_be_gone_after_the_walk_met_them_goes_too() {
    let (_database, node, source) = start().await;
    let _jobs = node.start_jobs_with(quick());
    let id = filled(&node, &source, PROJECT, 20).await;
    let told = |id: usize, deleted: bool| {
        let mut record = roster_tests::scripted::person(id, "", 5);
        record.deleted = deleted;
        record
    };
    // 3 was met two pages before, 18 is gone and there again, 19 there and gone, and 40 was never there.
    let mut records = people(18);
    records.extend([told(18, true), told(18, false)]);
    records.extend([
        told(19, false),
        told(3, true),
        told(40, true),
        told(19, true),
    ]);
    source.hold(records);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(removals(&done), (0, 2, 0), "{:?}", done.code);
    assert_eq!(done.status, RunStatus::Succeeded);
    let (there, off) = rows(&node, PROJECT, &id).await;
    assert_eq!((there.len(), off.len()), (18, 0));
    node.close().await;
}
