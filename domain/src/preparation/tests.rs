//! What a preparation does.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{Outcome, Preparation, PreparationCommand, PreparationEvent, PreparationRefusal};
use crate::Timestamp;
use crate::schema::Definition;
use crate::stream::Stream;

const AT: Timestamp = Timestamp(1_767_225_600_000_000);

fn started() -> PreparationEvent {
    PreparationEvent::Started {
        at: AT,
        schema_stream: Uuid::from_u128(1),
        definition: Definition::default(),
        fields: vec!["email".into()],
        total: 200,
    }
}

fn duplicate(customer: u128) -> PreparationEvent {
    PreparationEvent::DuplicateFound {
        at: AT,
        field: "email".into(),
        customer_ref: Uuid::from_u128(customer),
        holder_ref: Uuid::from_u128(9),
    }
}

fn report(customer: u128) -> PreparationCommand {
    PreparationCommand::ReportDuplicate {
        at: AT,
        field: "email".into(),
        customer_ref: Uuid::from_u128(customer),
        holder_ref: Uuid::from_u128(9),
    }
}

fn progress(checked: u64) -> PreparationCommand {
    PreparationCommand::Progress {
        at: AT,
        checked,
        cursor: vec![1],
    }
}

fn progressed(checked: u64) -> PreparationEvent {
    PreparationEvent::Progressed {
        at: AT,
        checked,
        cursor: vec![1],
    }
}

fn preparations() -> TestFramework<Preparation> {
    TestFramework::with(())
}

fn folded(events: impl IntoIterator<Item = PreparationEvent>) -> Preparation {
    let mut preparation = Preparation::default();
    for event in events {
        preparation.fold(event);
    }
    preparation
}

#[test]
fn a_job_starts_once() {
    let start = || PreparationCommand::Start {
        at: AT,
        schema_stream: Uuid::from_u128(1),
        definition: Definition::default(),
        fields: vec!["email".into()],
        total: 200,
    };
    preparations()
        .given_no_previous_events()
        .when(start())
        .then_expect_events(vec![started()]);
    preparations()
        .given(vec![started()])
        .when(start())
        .then_expect_error(PreparationRefusal::AlreadyStarted);
}

#[test]
fn progress_needs_a_running_job_and_goes_forward() {
    let found = PreparationRefusal::PreparationNotFound;
    preparations()
        .given_no_previous_events()
        .when(progress(1))
        .then_expect_error(found);
    preparations()
        .given(vec![started()])
        .when(progress(50))
        .then_expect_events(vec![progressed(50)]);
    let back = PreparationRefusal::ProgressWentBack;
    preparations()
        .given(vec![started(), progressed(50)])
        .when(progress(49))
        .then_expect_error(back);
    let finished = PreparationEvent::Finished {
        at: AT,
        outcome: Outcome::Ready,
    };
    let ended = PreparationRefusal::AlreadyFinished;
    preparations()
        .given(vec![started(), finished])
        .when(progress(50))
        .then_expect_error(ended);
}

#[test]
fn a_hundred_duplicates_are_kept_each_once() {
    preparations()
        .given(vec![started(), duplicate(2)])
        .when(report(2))
        .then_expect_events(vec![]);
    let events: Vec<_> = std::iter::once(started())
        .chain((10..110).map(duplicate))
        .collect();
    preparations()
        .given(events)
        .when(report(500))
        .then_expect_events(vec![]);
}

#[test]
fn a_job_may_be_ended_twice_in_the_same_way() {
    let finish = |outcome| PreparationCommand::Finish { at: AT, outcome };
    let finished = || PreparationEvent::Finished {
        at: AT,
        outcome: Outcome::Ready,
    };
    preparations()
        .given(vec![started()])
        .when(finish(Outcome::Ready))
        .then_expect_events(vec![finished()]);
    preparations()
        .given(vec![started(), finished()])
        .when(finish(Outcome::Ready))
        .then_expect_events(vec![]);
    let ended = PreparationRefusal::AlreadyFinished;
    preparations()
        .given(vec![started(), finished()])
        .when(finish(Outcome::Failed))
        .then_expect_error(ended);
}

#[test]
fn a_running_job_holds_the_projects_claim() {
    let claim = Preparation::open_claim(Uuid::from_u128(1));
    assert_eq!(folded([started()]).claims(), [claim]);
    let finished = PreparationEvent::Finished {
        at: AT,
        outcome: Outcome::Failed,
    };
    assert_eq!(folded([started(), finished]).claims(), []);
    assert_eq!(folded([]).claims(), []);
}

#[test]
fn progress_is_a_hundred_only_at_the_end() {
    assert_eq!(folded([started(), progressed(50)]).progress_pct(), 25);
    assert_eq!(folded([started(), progressed(900)]).progress_pct(), 99);
    let finished = PreparationEvent::Finished {
        at: AT,
        outcome: Outcome::Ready,
    };
    assert_eq!(folded([started(), finished]).progress_pct(), 100);
}
