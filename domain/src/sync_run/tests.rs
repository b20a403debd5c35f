//! What a run does.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    Page, Removals, RunStatus, SyncRun, SyncRunCommand, SyncRunEvent, SyncRunRefusal, Trigger,
};
use crate::import::Counts;
use crate::meta::Principal;
use crate::stream::Stream;
use crate::{Personal, Timestamp};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);

fn queued() -> SyncRunEvent {
    SyncRunEvent::Queued {
        at: AT,
        id: Uuid::from_u128(8),
        connection_id: Uuid::from_u128(7),
        trigger: Trigger::Manual,
        is_full: true,
        dry_run: false,
        confirms_deletes: false,
        principal: Principal::System,
        subject: Personal::Erased,
    }
}

fn started(rows_before: u64) -> SyncRunEvent {
    SyncRunEvent::Started {
        at: AT,
        is_full: true,
        cursor: Personal::Known(None),
        rows_before,
    }
}

fn page(place: Option<&str>, marked: u64) -> Page {
    Page {
        pages: 1,
        counts: Counts {
            created: marked,
            ..Counts::default()
        },
        marked,
        place: Personal::Known(place.map(str::to_owned)),
        cursor: Personal::Known(None),
        ends_walk: place.is_none(),
        ..Page::default()
    }
}

fn applied(page: Page) -> SyncRunEvent {
    SyncRunEvent::PageApplied {
        at: AT,
        page: Box::new(page),
    }
}

fn apply(page: Page) -> SyncRunCommand {
    SyncRunCommand::ApplyPage {
        at: AT,
        page: Box::new(page),
    }
}

fn finish(status: RunStatus) -> SyncRunCommand {
    SyncRunCommand::Finish {
        at: AT,
        status,
        code: None,
        message: None,
        retry_at: None,
    }
}

fn runs() -> TestFramework<SyncRun> {
    TestFramework::with(())
}

fn folded(events: impl IntoIterator<Item = SyncRunEvent>) -> SyncRun {
    let mut run = SyncRun::default();
    for event in events {
        run.fold(event);
    }
    run
}

#[test]
fn pages_come_between_the_start_and_the_end_of_a_walk() {
    runs()
        .given(vec![queued()])
        .when(apply(page(None, 1)))
        .then_expect_error(SyncRunRefusal::OutOfOrder);
    runs()
        .given(vec![queued(), started(0)])
        .when(apply(page(Some("\"2\""), 1)))
        .then_expect_events(vec![applied(page(Some("\"2\""), 1))]);
    runs()
        .given(vec![queued(), started(0), applied(page(None, 1))])
        .when(apply(page(None, 1)))
        .then_expect_error(SyncRunRefusal::OutOfOrder);
}

#[test]
fn rows_are_taken_away_only_after_the_walk() {
    let remove = SyncRunCommand::ApplyRemovals {
        at: AT,
        removals: Removals {
            removed_at_source: 1,
            deleted: 1,
            ..Removals::default()
        },
    };
    runs()
        .given(vec![queued(), started(9), applied(page(Some("\"2\""), 1))])
        .when(remove)
        .then_expect_error(SyncRunRefusal::OutOfOrder);
}

#[test]
fn a_walk_that_begins_anew_forgets_what_it_saw_but_not_what_it_did() {
    let run = folded([
        queued(),
        started(0),
        applied(page(Some("\"2\""), 5)),
        SyncRunEvent::WalkRestarted {
            at: AT,
            forgets_cursor: false,
        },
    ]);
    assert_eq!((run.marked, run.counts.created, run.walks), (0, 5, 2));
    assert_eq!(run.place, Personal::Known(None));
}

#[test]
fn the_guard_is_a_share_of_the_rows_before_the_run() {
    for (rows, gone, lets) in [
        (100, 19, true),
        (100, 20, true),
        (100, 21, false),
        (3, 1, false),
        (10, 10, false),
        (0, 0, true),
    ] {
        let run = folded([queued(), started(rows)]);
        assert_eq!(run.guard_lets(gone, 20), lets, "{gone} of {rows}");
    }
    let mut confirmed = folded([queued(), started(3)]);
    confirmed.confirms_deletes = true;
    assert!(confirmed.guard_lets(3, 20));
}

#[test]
fn what_is_held_back_or_failed_is_no_success() {
    let mut run = folded([queued(), started(0)]);
    assert_eq!(run.completed_status(), RunStatus::Succeeded);
    run.removals.held_back = 1;
    assert_eq!(run.completed_status(), RunStatus::CompletedWithErrors);
}

#[test]
fn a_run_ends_once_and_gives_its_connection_free() {
    assert_eq!(folded([queued()]).claims().len(), 2);
    let ended = SyncRunEvent::Finished {
        at: AT,
        status: RunStatus::Cancelled,
        code: None,
        message: Personal::Known(None),
        retry_at: None,
    };
    assert!(folded([queued(), ended.clone()]).claims().is_empty());
    runs()
        .given(vec![queued(), ended.clone()])
        .when(finish(RunStatus::Cancelled))
        .then_expect_events(Vec::new());
    runs()
        .given(vec![queued(), ended])
        .when(finish(RunStatus::Succeeded))
        .then_expect_error(SyncRunRefusal::AlreadyFinished);
    runs()
        .given(vec![queued()])
        .when(finish(RunStatus::Running))
        .then_expect_error(SyncRunRefusal::StatusNotFinal);
}

#[test]
fn numbers_and_words_of_a_status_agree() {
    for status in RunStatus::ALL {
        assert_eq!(RunStatus::from_number(status.number()), Some(status));
        assert_eq!(RunStatus::parse(status.as_str()), Some(status));
    }
}
