//! What a purge does.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    FailureDetail, LARGEST_PURGE, OpenFilter, Purge, PurgeCommand, PurgeCounts, PurgeEvent,
    PurgeFilter, PurgeRefusal, PurgeStatus, Sought, StoredFailure, Target, Targets,
    check_confirmation, check_total,
};
use crate::customer::SourceKind;
use crate::meta::Principal;
use crate::stream::Stream;
use crate::{Personal, Timestamp};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);
const ID: Uuid = Uuid::from_u128(7);

fn start(matched: u64, total: u64) -> PurgeCommand {
    PurgeCommand::Start {
        at: AT,
        id: ID,
        filter: None,
        is_sought: false,
        matched,
        total,
        principal: Principal::Token,
        subject: Personal::new("ada".into()),
        request: Personal::new("00ff".into()),
    }
}

fn started(total: u64) -> PurgeEvent {
    PurgeEvent::Started {
        at: AT,
        id: ID,
        filter: None,
        is_sought: false,
        matched: total,
        total,
        principal: Principal::Token,
        subject: Personal::new("ada".into()),
        request: Personal::new("00ff".into()),
    }
}

const fn counts(deleted: u64, not_found: u64, failed: u64) -> PurgeCounts {
    PurgeCounts {
        deleted,
        not_found,
        failed,
    }
}

fn failure() -> StoredFailure {
    StoredFailure {
        about: None,
        reason: "the record cannot be read".into(),
        detail: vec![1],
    }
}

fn apply(from: u64, counts: PurgeCounts, failures: Vec<StoredFailure>) -> PurgeCommand {
    PurgeCommand::ApplyChunk {
        at: AT,
        from,
        counts,
        failures,
    }
}

fn applied(counts: PurgeCounts, failures: Vec<StoredFailure>) -> PurgeEvent {
    PurgeEvent::ChunkApplied {
        at: AT,
        counts,
        failures,
    }
}

const fn finish(status: PurgeStatus) -> PurgeCommand {
    PurgeCommand::Finish { at: AT, status }
}

const fn finished(status: PurgeStatus) -> PurgeEvent {
    PurgeEvent::Finished { at: AT, status }
}

fn purges() -> TestFramework<Purge> {
    TestFramework::with(())
}

fn folded(events: impl IntoIterator<Item = PurgeEvent>) -> Purge {
    let mut purge = Purge::default();
    for event in events {
        purge.fold(event);
    }
    purge
}

#[test]
fn a_purge_starts_once_and_with_no_more_than_matched() {
    purges()
        .given_no_previous_events()
        .when(start(10, 10))
        .then_expect_events(vec![started(10)]);
    purges()
        .given(vec![started(10)])
        .when(start(10, 10))
        .then_expect_error(PurgeRefusal::AlreadyStarted);
    purges()
        .given_no_previous_events()
        .when(start(9, 10))
        .then_expect_error(PurgeRefusal::CountsDisagree);
}

#[test]
fn a_chunk_follows_the_one_before_and_its_counts_add_up() {
    let first = applied(counts(3, 1, 0), Vec::new());
    purges()
        .given(vec![started(10), first.clone()])
        .when(apply(4, counts(4, 1, 1), vec![failure()]))
        .then_expect_events(vec![applied(counts(4, 1, 1), vec![failure()])]);
    for (command, refusal) in [
        (
            apply(0, counts(3, 1, 0), Vec::new()),
            PurgeRefusal::OutOfOrder,
        ),
        (
            apply(4, counts(7, 0, 0), Vec::new()),
            PurgeRefusal::CountsDisagree,
        ),
        (
            apply(4, counts(0, 0, 0), Vec::new()),
            PurgeRefusal::CountsDisagree,
        ),
        (
            apply(4, counts(1, 0, 1), Vec::new()),
            PurgeRefusal::CountsDisagree,
        ),
        (
            apply(4, counts(1, 0, 0), vec![failure()]),
            PurgeRefusal::CountsDisagree,
        ),
    ] {
        purges()
            .given(vec![started(10), first.clone()])
            .when(command)
            .then_expect_error(refusal);
    }
}

#[test]
fn a_purge_ends_once_and_only_as_its_counts_say() {
    let all = applied(counts(9, 0, 1), vec![failure()]);
    purges()
        .given(vec![started(10), all.clone()])
        .when(finish(PurgeStatus::CompletedWithErrors))
        .then_expect_events(vec![finished(PurgeStatus::CompletedWithErrors)]);
    for (given, status, refusal) in [
        (
            vec![started(10), all.clone()],
            PurgeStatus::Completed,
            PurgeRefusal::CountsDisagree,
        ),
        (
            vec![started(10)],
            PurgeStatus::Completed,
            PurgeRefusal::CountsDisagree,
        ),
        (
            vec![started(10)],
            PurgeStatus::Running,
            PurgeRefusal::StatusNotFinal,
        ),
        (
            vec![started(10), finished(PurgeStatus::Cancelled)],
            PurgeStatus::Completed,
            PurgeRefusal::AlreadyFinished,
        ),
        (
            Vec::new(),
            PurgeStatus::Completed,
            PurgeRefusal::PurgeNotFound,
        ),
    ] {
        purges()
            .given(given)
            .when(finish(status))
            .then_expect_error(refusal);
    }
    purges()
        .given(vec![started(10), finished(PurgeStatus::Cancelled)])
        .when(finish(PurgeStatus::Cancelled))
        .then_expect_events(Vec::new());
}

#[test]
fn a_cancel_is_asked_for_once_and_not_of_a_purge_that_ended() {
    let cancel = PurgeCommand::RequestCancel { at: AT };
    let cancelled = PurgeEvent::CancelRequested { at: AT };
    purges()
        .given(vec![started(10)])
        .when(cancel.clone())
        .then_expect_events(vec![cancelled.clone()]);
    for ended in [cancelled, finished(PurgeStatus::Cancelled)] {
        purges()
            .given(vec![started(10), ended])
            .when(cancel.clone())
            .then_expect_events(Vec::new());
    }
}

#[test]
fn the_progress_never_falls_and_is_100_only_at_the_end() {
    let mut purge = folded([started(3)]);
    let mut seen = vec![purge.progress_pct()];
    for _ in 0..3 {
        purge.fold(applied(counts(1, 0, 0), Vec::new()));
        seen.push(purge.progress_pct());
    }
    purge.fold(finished(PurgeStatus::Completed));
    seen.push(purge.progress_pct());
    assert_eq!(seen, [0, 33, 66, 99, 100]);
    assert_eq!(folded([started(0)]).progress_pct(), 0);
}

#[test]
fn an_unfinished_purge_holds_itself_and_its_request() {
    let claims = vec![Purge::open_claim(ID), Purge::request_claim("00ff")];
    assert_eq!(folded([started(1)]).claims(), claims);
    let ended = folded([started(1), finished(PurgeStatus::Cancelled)]);
    assert_eq!(ended.claims(), Vec::new());
    assert!(!ended.is_closed());
}

#[test]
fn only_an_ended_purge_expires_and_nothing_personal_is_left() {
    let expire = PurgeCommand::Expire { at: AT };
    let expired = PurgeEvent::Expired { at: AT };
    purges()
        .given(vec![started(1)])
        .when(expire.clone())
        .then_expect_error(PurgeRefusal::NotFinished);
    purges()
        .given(vec![started(1), finished(PurgeStatus::Cancelled)])
        .when(expire)
        .then_expect_events(vec![expired.clone()]);
    let purge = folded([started(1), finished(PurgeStatus::Cancelled), expired]);
    assert!(purge.is_closed());
    assert_eq!(
        (purge.subject, purge.request),
        (Personal::Erased, Personal::Erased)
    );
}

fn searching(search: &str) -> PurgeFilter {
    PurgeFilter {
        sought: Sought {
            search: Some(search.into()),
            fields: Vec::new(),
        },
        ..PurgeFilter::default()
    }
}

#[test]
fn a_search_or_a_data_source_restricts_and_nothing_else_does() {
    let open = |open| PurgeFilter {
        open,
        ..PurgeFilter::default()
    };
    assert!(searching("a").is_restrictive());
    assert!(
        open(OpenFilter {
            source_kind: Some(SourceKind::Csv),
            ..OpenFilter::default()
        })
        .is_restrictive()
    );
    assert!(
        open(OpenFilter {
            source_provider: Some("erp".into()),
            ..OpenFilter::default()
        })
        .is_restrictive()
    );
    assert!(
        open(OpenFilter {
            source_connection: Some("d".into()),
            ..OpenFilter::default()
        })
        .is_restrictive()
    );
    for wide in [
        PurgeFilter::default(),
        searching("  "),
        // A lone accent is folded away, so the search would find everybody.
        searching("\u{301}"),
        open(OpenFilter {
            enabled: Some(true),
            updated_since: Some(AT),
            ..OpenFilter::default()
        }),
    ] {
        assert!(!wide.is_restrictive(), "{wide:?}");
    }
}

#[test]
fn everybody_goes_only_where_the_project_is_named() {
    let wide = PurgeFilter::default();
    assert_eq!(check_confirmation(&wide, "p", Some("p")), Ok(()));
    assert_eq!(
        check_confirmation(&wide, "p", None),
        Err(PurgeRefusal::RestrictiveFilterRequired)
    );
    for filter in [wide, searching("ada")] {
        assert_eq!(
            check_confirmation(&filter, "p", Some("P")),
            Err(PurgeRefusal::ConfirmationRequired)
        );
    }
    assert_eq!(check_confirmation(&searching("ada"), "p", None), Ok(()));
}

#[test]
fn more_than_5_000_need_a_limit_and_the_expected_number_must_be_right() {
    assert_eq!(check_total(5_000, None, None), Ok(()));
    assert_eq!(
        check_total(5_001, None, None),
        Err(PurgeRefusal::TooManyMatches {
            matched: 5_001,
            limit: LARGEST_PURGE
        })
    );
    assert_eq!(check_total(5_001, Some(5_001), Some(10)), Ok(()));
    assert_eq!(
        check_total(3, Some(4), None),
        Err(PurgeRefusal::TotalChanged { matched: 3 })
    );
}

#[test]
fn what_is_sealed_comes_back_as_it_was() {
    let targets = Targets(vec![
        Target {
            stream: Some(ID),
            customer_user_id: "ada".into(),
        },
        Target {
            stream: None,
            customer_user_id: "nobody".into(),
        },
    ]);
    assert_eq!(Targets::decode(&targets.encode()), Some(targets.clone()));
    let sought = Sought {
        search: Some("ada".into()),
        fields: vec![("email".into(), "ada@example.org".into())],
    };
    assert_eq!(Sought::decode(&sought.encode()), Some(sought.clone()));
    let detail = FailureDetail {
        customer_user_id: Some("ada".into()),
    };
    assert_eq!(FailureDetail::decode(&detail.encode()), Some(detail));
    for damaged in [&[][..], &[2, 0], &[1]] {
        assert_eq!(Targets::decode(damaged), None);
        assert_eq!(Sought::decode(damaged), None);
        assert_eq!(FailureDetail::decode(damaged), None);
    }
    let shown = format!("{targets:?} {:?} {sought:?}", targets.0);
    assert!(!shown.contains("ada"), "{shown}");
}
