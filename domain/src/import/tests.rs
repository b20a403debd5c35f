//! What an import does.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    Counts, EmptyCells, Import, ImportCommand, ImportEvent, ImportRefusal, ImportStatus,
    IssueDetail,
};
use super::{OnConflict, StoredIssue};
use crate::Timestamp;
use crate::stream::Stream;

const AT: Timestamp = Timestamp(1_767_225_600_000_000);
const ID: Uuid = Uuid::from_u128(7);

fn start() -> ImportCommand {
    ImportCommand::Start {
        at: AT,
        id: ID,
        provider: "csv_file".into(),
        delimiter: b',',
        on_conflict: OnConflict::Update,
        empty_cells: EmptyCells::Clear,
        dry_run: false,
        header: vec!["customer_user_id".into()],
        body_offset: 100,
        staged_chunks: 1,
        staged_bytes: 1_100,
    }
}

fn started() -> ImportEvent {
    ImportEvent::Started {
        at: AT,
        id: ID,
        provider: "csv_file".into(),
        delimiter: b',',
        on_conflict: OnConflict::Update,
        empty_cells: EmptyCells::Clear,
        dry_run: false,
        header: vec!["customer_user_id".into()],
        body_offset: 100,
        staged_chunks: 1,
        staged_bytes: 1_100,
    }
}

const COUNTS: Counts = Counts {
    created: 5,
    updated: 4,
    unchanged: 3,
    skipped: 2,
    failed: 1,
};

fn apply(next_offset: u64, rows: u64, counts: Counts) -> ImportCommand {
    ImportCommand::ApplyChunk {
        at: AT,
        next_offset,
        rows,
        counts,
        warnings: 2,
        issues: Vec::new(),
    }
}

fn applied(next_offset: u64) -> ImportEvent {
    let issues: Vec<StoredIssue> = Vec::new();
    ImportEvent::ChunkApplied {
        at: AT,
        next_offset,
        rows: 15,
        counts: COUNTS,
        warnings: 2,
        issues,
    }
}

fn finish(status: ImportStatus) -> ImportCommand {
    ImportCommand::Finish {
        at: AT,
        status,
        reason: None,
    }
}

fn finished(status: ImportStatus) -> ImportEvent {
    ImportEvent::Finished {
        at: AT,
        status,
        reason: None,
    }
}

fn imports() -> TestFramework<Import> {
    TestFramework::with(())
}

fn folded(events: impl IntoIterator<Item = ImportEvent>) -> Import {
    let mut import = Import::default();
    for event in events {
        import.fold(event);
    }
    import
}

#[test]
fn an_import_starts_once() {
    imports()
        .given_no_previous_events()
        .when(start())
        .then_expect_events(vec![started()]);
    imports()
        .given(vec![started()])
        .when(start())
        .then_expect_error(ImportRefusal::AlreadyStarted);
}

#[test]
fn a_chunk_moves_the_offset_and_adds_to_the_counts() {
    imports()
        .given(vec![started()])
        .when(apply(600, 15, COUNTS))
        .then_expect_events(vec![applied(600)]);
    let import = folded([started(), applied(600), applied(850)]);
    assert_eq!(
        (import.rows, import.next_offset, import.warnings),
        (30, 850, 4)
    );
    assert_eq!(import.counts, COUNTS.plus(COUNTS));
    assert_eq!(
        (import.status, import.progress_pct()),
        (ImportStatus::Running, 75)
    );
    assert_eq!(import.completed_status(), ImportStatus::CompletedWithErrors);
}

#[test]
fn counts_that_do_not_add_up_are_refused() {
    imports()
        .given(vec![started()])
        .when(apply(600, 16, COUNTS))
        .then_expect_error(ImportRefusal::CountsDisagree);
}

#[test]
fn a_chunk_that_was_applied_is_refused_the_second_time() {
    let out_of_order = ImportRefusal::OffsetOutOfOrder;
    imports()
        .given(vec![started(), applied(600)])
        .when(apply(600, 15, COUNTS))
        .then_expect_error(out_of_order);
    imports()
        .given(vec![started(), applied(600)])
        .when(apply(500, 15, COUNTS))
        .then_expect_error(out_of_order);
    imports()
        .given(vec![started()])
        .when(apply(1_101, 15, COUNTS))
        .then_expect_error(out_of_order);
}

#[test]
fn a_cancel_is_recorded_once_and_changes_nothing_afterwards() {
    let cancel = || ImportCommand::RequestCancel { at: AT };
    let requested = || ImportEvent::CancelRequested { at: AT };
    imports()
        .given(vec![started()])
        .when(cancel())
        .then_expect_events(vec![requested()]);
    imports()
        .given(vec![started(), requested()])
        .when(cancel())
        .then_expect_events(vec![]);
    let over = vec![started(), finished(ImportStatus::Completed)];
    imports()
        .given(over)
        .when(cancel())
        .then_expect_events(vec![]);
    imports()
        .given_no_previous_events()
        .when(cancel())
        .then_expect_error(ImportRefusal::ImportNotFound);
}

#[test]
fn an_import_ends_once() {
    let completed = ImportStatus::Completed;
    let over = || vec![started(), finished(completed)];
    imports()
        .given(vec![started()])
        .when(finish(completed))
        .then_expect_events(vec![finished(completed)]);
    imports()
        .given(over())
        .when(finish(completed))
        .then_expect_events(vec![]);
    imports()
        .given(over())
        .when(finish(ImportStatus::Failed))
        .then_expect_error(ImportRefusal::AlreadyFinished);
    imports()
        .given(over())
        .when(apply(600, 15, COUNTS))
        .then_expect_error(ImportRefusal::AlreadyFinished);
    imports()
        .given(vec![started()])
        .when(finish(ImportStatus::Running))
        .then_expect_error(ImportRefusal::StatusNotFinal);
}

#[test]
fn only_a_finished_import_expires_and_its_stream_closes() {
    let expire = || ImportCommand::Expire { at: AT };
    let expired = || ImportEvent::Expired { at: AT };
    let over = || vec![started(), finished(ImportStatus::Cancelled)];
    imports()
        .given(vec![started()])
        .when(expire())
        .then_expect_error(ImportRefusal::NotFinished);
    imports()
        .given(over())
        .when(expire())
        .then_expect_events(vec![expired()]);
    assert!(!folded(over()).is_closed());
    assert!(folded(over().into_iter().chain([expired()])).is_closed());
}

#[test]
fn an_unfinished_import_holds_the_claim_that_a_worker_finds_it_by() {
    assert_eq!(folded([]).claims(), []);
    assert_eq!(
        folded([started(), applied(600)]).claims(),
        [Import::open_claim(ID)]
    );
    assert_eq!(
        folded([started(), finished(ImportStatus::Failed)]).claims(),
        []
    );
}

#[test]
fn statuses_keep_their_words_and_numbers() {
    for status in ImportStatus::ALL {
        assert_eq!(ImportStatus::from_number(status.number()), Some(status));
        assert_eq!(ImportStatus::parse(status.as_str()), Some(status));
        assert_eq!(
            serde_json::to_value(status).expect("a word"),
            status.as_str()
        );
    }
}

#[test]
fn the_detail_of_a_finding_is_frozen_and_never_printed() {
    let detail = IssueDetail {
        customer_user_id: Some("ada".into()),
        cells: vec!["ada".into(), "x@".into()],
    };
    let bytes = detail.encode();
    assert_eq!(bytes, b"\x01\x01\x03ada\x02\x03ada\x02x@");
    assert_eq!(IssueDetail::decode(&bytes), Some(detail.clone()));
    assert_eq!(IssueDetail::decode(&bytes[1..]), None);
    assert_eq!(IssueDetail::decode(&[]), None);
    assert_eq!(format!("{detail:?}"), "<personal>");
}
