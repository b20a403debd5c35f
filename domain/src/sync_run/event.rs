//! What can happen to a run, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Page, Removals, RunStatus, Trigger};
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::import::{Counts, Severity, StoredIssue};
use crate::meta::Principal;
use crate::{Personal, Timestamp};

/// A change of one run. Findings come sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncRunEvent {
    /// It waits for a worker.
    Queued {
        /// When.
        at: Timestamp,
        /// The run's own id: that of its stream.
        id: Uuid,
        /// Of which connection.
        connection_id: Uuid,
        /// Why.
        trigger: Trigger,
        /// Whether everything is asked for.
        is_full: bool,
        /// Whether nothing is written.
        dry_run: bool,
        /// Whether a person agrees to many deletions.
        confirms_deletes: bool,
        /// What kind of credential asked.
        principal: Principal,
        /// The subject of a token.
        subject: Personal<String>,
    },
    /// It goes on where a run before had to stop.
    WalkContinued {
        /// When.
        at: Timestamp,
        /// Where the walk goes on.
        place: Personal<String>,
    },
    /// A worker began.
    Started {
        /// When.
        at: Timestamp,
        /// Whether everything is read.
        is_full: bool,
        /// From where on changes are asked for.
        cursor: Personal<Option<String>>,
        /// The connection's rows then.
        rows_before: u64,
    },
    /// Pages are done; their customers changed in the same append.
    PageApplied {
        /// When.
        at: Timestamp,
        /// What they were.
        page: Box<Page>,
    },
    /// Rows were taken away after the walk, in the same append.
    RemovalsApplied {
        /// When.
        at: Timestamp,
        /// What became of them.
        removals: Removals,
    },
    /// The walk begins anew: what was seen no longer counts.
    WalkRestarted {
        /// When.
        at: Timestamp,
        /// Whether everything is read from here on.
        forgets_cursor: bool,
    },
    /// Its worker went.
    Interrupted {
        /// When.
        at: Timestamp,
    },
    /// A person wants it to stop.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// It ended.
    Finished {
        /// When.
        at: Timestamp,
        /// How.
        status: RunStatus,
        /// Why it did not succeed, as a stable word.
        code: Option<String>,
        /// The same for people.
        message: Personal<Option<String>>,
        /// When the source answers again.
        retry_at: Option<Timestamp>,
    },
    /// Its retention is over: the key of its findings is destroyed.
    Expired {
        /// When.
        at: Timestamp,
    },
}

/// `sync_run.queued` version 1.
const QUEUED: i16 = 100;
/// `sync_run.started` version 1.
const STARTED: i16 = 101;
/// `sync_run.page_applied` version 1.
const PAGE_APPLIED: i16 = 102;
/// `sync_run.removals_applied` version 1.
const REMOVALS_APPLIED: i16 = 103;
/// `sync_run.walk_restarted` version 1.
const WALK_RESTARTED: i16 = 104;
/// `sync_run.interrupted` version 1.
const INTERRUPTED: i16 = 105;
/// `sync_run.cancel_requested` version 1.
const CANCEL_REQUESTED: i16 = 106;
/// `sync_run.finished` version 1.
const FINISHED: i16 = 107;
/// `sync_run.expired` version 1.
const EXPIRED: i16 = 108;
/// `sync_run.walk_continued` version 1: when, and the sealed place.
const WALK_CONTINUED: i16 = 109;

#[derive(Serialize, Deserialize)]
struct QueuedV1 {
    at: i64,
    id: [u8; 16],
    connection_id: [u8; 16],
    trigger: u8,
    is_full: bool,
    dry_run: bool,
    confirms_deletes: bool,
    principal: u8,
    key_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StartedV1 {
    at: i64,
    is_full: bool,
    rows_before: u64,
}

#[derive(Serialize, Deserialize)]
struct PageAppliedV1 {
    at: i64,
    pages: u64,
    counts: [u64; 5],
    removals: [u64; 4],
    warnings: u64,
    marked: u64,
    issues: Vec<IssueV1>,
    ends_walk: bool,
}

#[derive(Serialize, Deserialize)]
struct PlacesV1 {
    place: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct IssueV1 {
    row: u64,
    is_warning: bool,
    field: Option<String>,
    code: String,
    message: String,
    about: Option<[u8; 16]>,
    detail: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct RemovalsAppliedV1 {
    at: i64,
    removals: [u64; 4],
}

#[derive(Serialize, Deserialize)]
struct WalkRestartedV1 {
    at: i64,
    forgets_cursor: bool,
}

/// Of all events that say no more than when.
#[derive(Serialize, Deserialize)]
struct AtV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct FinishedV1 {
    at: i64,
    status: u8,
    code: Option<String>,
    retry_at: Option<i64>,
}

impl From<&StoredIssue> for IssueV1 {
    fn from(issue: &StoredIssue) -> Self {
        Self {
            row: issue.row,
            is_warning: issue.severity == Severity::Warning,
            field: issue.field.clone(),
            code: issue.code.clone(),
            message: issue.message.clone(),
            about: issue.about.map(Uuid::into_bytes),
            detail: issue.detail.clone(),
        }
    }
}

impl From<IssueV1> for StoredIssue {
    fn from(issue: IssueV1) -> Self {
        Self {
            row: issue.row,
            severity: if issue.is_warning {
                Severity::Warning
            } else {
                Severity::Failed
            },
            field: issue.field,
            code: issue.code,
            message: issue.message,
            about: issue.about.map(Uuid::from_bytes),
            detail: issue.detail,
        }
    }
}

const fn counts_of([created, updated, unchanged, skipped, failed]: [u64; 5]) -> Counts {
    Counts {
        created,
        updated,
        unchanged,
        skipped,
        failed,
    }
}

const fn removals_of([removed_at_source, disabled, deleted, held_back]: [u64; 4]) -> Removals {
    Removals {
        removed_at_source,
        disabled,
        deleted,
        held_back,
    }
}

const fn numbers_of(removals: Removals) -> [u64; 4] {
    [
        removals.removed_at_source,
        removals.disabled,
        removals.deleted,
        removals.held_back,
    ]
}

impl DomainEvent for SyncRunEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Queued { .. } => "sync_run.queued",
            Self::WalkContinued { .. } => "sync_run.walk_continued",
            Self::Started { .. } => "sync_run.started",
            Self::PageApplied { .. } => "sync_run.page_applied",
            Self::RemovalsApplied { .. } => "sync_run.removals_applied",
            Self::WalkRestarted { .. } => "sync_run.walk_restarted",
            Self::Interrupted { .. } => "sync_run.interrupted",
            Self::CancelRequested { .. } => "sync_run.cancel_requested",
            Self::Finished { .. } => "sync_run.finished",
            Self::Expired { .. } => "sync_run.expired",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

const fn v1(type_no: i16, name: &'static str) -> EventType {
    EventType {
        type_no,
        type_version: 1,
        name,
    }
}

impl StoredEvent for SyncRunEvent {
    const TYPES: &'static [EventType] = &[
        v1(QUEUED, "sync_run.queued"),
        v1(STARTED, "sync_run.started"),
        v1(PAGE_APPLIED, "sync_run.page_applied"),
        v1(REMOVALS_APPLIED, "sync_run.removals_applied"),
        v1(WALK_RESTARTED, "sync_run.walk_restarted"),
        v1(INTERRUPTED, "sync_run.interrupted"),
        v1(CANCEL_REQUESTED, "sync_run.cancel_requested"),
        v1(FINISHED, "sync_run.finished"),
        v1(EXPIRED, "sync_run.expired"),
        v1(WALK_CONTINUED, "sync_run.walk_continued"),
    ];

    fn encode(&self) -> Encoded {
        let only = |type_no, at: &Timestamp| (type_no, to_bytes(&AtV1 { at: at.0 }), None);
        let (type_no, open, personal) = match self {
            Self::Queued {
                at,
                id,
                connection_id,
                trigger,
                is_full,
                dry_run,
                confirms_deletes,
                principal,
                subject,
            } => {
                let (principal, key_id) = match principal {
                    Principal::System => (0, None),
                    Principal::ApiKey(id) => (1, Some(id.clone())),
                    Principal::Token => (2, None),
                };
                let open = QueuedV1 {
                    at: at.0,
                    id: id.into_bytes(),
                    connection_id: connection_id.into_bytes(),
                    trigger: trigger.number(),
                    is_full: *is_full,
                    dry_run: *dry_run,
                    confirms_deletes: *confirms_deletes,
                    principal,
                    key_id,
                };
                (QUEUED, to_bytes(&open), subject.known().map(to_bytes))
            }
            Self::Started {
                at,
                is_full,
                cursor,
                rows_before,
            } => {
                let open = StartedV1 {
                    at: at.0,
                    is_full: *is_full,
                    rows_before: *rows_before,
                };
                (STARTED, to_bytes(&open), cursor.known().map(to_bytes))
            }
            Self::PageApplied { at, page } => {
                let counts = page.counts;
                let open = PageAppliedV1 {
                    at: at.0,
                    pages: page.pages,
                    counts: [
                        counts.created,
                        counts.updated,
                        counts.unchanged,
                        counts.skipped,
                        counts.failed,
                    ],
                    removals: numbers_of(page.removals),
                    warnings: page.warnings,
                    marked: page.marked,
                    issues: page.issues.iter().map(IssueV1::from).collect(),
                    ends_walk: page.ends_walk,
                };
                let places = page.place.known().zip(page.cursor.known());
                let places = places.map(|(place, cursor)| {
                    to_bytes(&PlacesV1 {
                        place: place.clone(),
                        cursor: cursor.clone(),
                    })
                });
                (PAGE_APPLIED, to_bytes(&open), places)
            }
            Self::RemovalsApplied { at, removals } => {
                let open = RemovalsAppliedV1 {
                    at: at.0,
                    removals: numbers_of(*removals),
                };
                (REMOVALS_APPLIED, to_bytes(&open), None)
            }
            Self::WalkContinued { at, place } => (
                WALK_CONTINUED,
                to_bytes(&AtV1 { at: at.0 }),
                place.known().map(to_bytes),
            ),
            Self::WalkRestarted { at, forgets_cursor } => {
                let open = WalkRestartedV1 {
                    at: at.0,
                    forgets_cursor: *forgets_cursor,
                };
                (WALK_RESTARTED, to_bytes(&open), None)
            }
            Self::Interrupted { at } => only(INTERRUPTED, at),
            Self::CancelRequested { at } => only(CANCEL_REQUESTED, at),
            Self::Finished {
                at,
                status,
                code,
                message,
                retry_at,
            } => {
                let open = FinishedV1 {
                    at: at.0,
                    status: status.number(),
                    code: code.clone(),
                    retry_at: retry_at.map(|at| at.0),
                };
                (FINISHED, to_bytes(&open), message.known().map(to_bytes))
            }
            Self::Expired { at } => only(EXPIRED, at),
        };
        Encoded {
            type_no,
            type_version: 1,
            open,
            personal,
        }
    }

    fn decode(
        type_no: i16,
        type_version: i16,
        open: &[u8],
        personal: Option<&[u8]>,
    ) -> Result<Self, DecodeError> {
        let id = (type_no, type_version);
        let malformed = DecodeError::Malformed {
            type_no,
            type_version,
        };
        let only = || from_bytes::<AtV1>(id, open).map(|shape| Timestamp(shape.at));
        Ok(match id {
            (QUEUED, 1) => {
                let open: QueuedV1 = from_bytes(id, open)?;
                let subject: Option<String> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                let principal = match (open.principal, open.key_id) {
                    (0, _) => Principal::System,
                    (1, Some(key_id)) => Principal::ApiKey(key_id),
                    (2, _) => Principal::Token,
                    _ => return Err(malformed),
                };
                Self::Queued {
                    at: Timestamp(open.at),
                    id: Uuid::from_bytes(open.id),
                    connection_id: Uuid::from_bytes(open.connection_id),
                    trigger: Trigger::from_number(open.trigger).ok_or(malformed)?,
                    is_full: open.is_full,
                    dry_run: open.dry_run,
                    confirms_deletes: open.confirms_deletes,
                    principal,
                    subject: subject.into(),
                }
            }
            (STARTED, 1) => {
                let open: StartedV1 = from_bytes(id, open)?;
                let cursor: Option<Option<String>> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                Self::Started {
                    at: Timestamp(open.at),
                    is_full: open.is_full,
                    cursor: cursor.into(),
                    rows_before: open.rows_before,
                }
            }
            (PAGE_APPLIED, 1) => {
                let open: PageAppliedV1 = from_bytes(id, open)?;
                let places: Option<PlacesV1> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                let (place, cursor) = places
                    .map_or((Personal::Erased, Personal::Erased), |known| {
                        (Personal::Known(known.place), Personal::Known(known.cursor))
                    });
                let page = Page {
                    pages: open.pages,
                    counts: counts_of(open.counts),
                    removals: removals_of(open.removals),
                    warnings: open.warnings,
                    marked: open.marked,
                    issues: open.issues.into_iter().map(StoredIssue::from).collect(),
                    place,
                    cursor,
                    ends_walk: open.ends_walk,
                };
                Self::PageApplied {
                    at: Timestamp(open.at),
                    page: Box::new(page),
                }
            }
            (REMOVALS_APPLIED, 1) => {
                let open: RemovalsAppliedV1 = from_bytes(id, open)?;
                Self::RemovalsApplied {
                    at: Timestamp(open.at),
                    removals: removals_of(open.removals),
                }
            }
            (WALK_RESTARTED, 1) => {
                let open: WalkRestartedV1 = from_bytes(id, open)?;
                Self::WalkRestarted {
                    at: Timestamp(open.at),
                    forgets_cursor: open.forgets_cursor,
                }
            }
            (INTERRUPTED, 1) => Self::Interrupted { at: only()? },
            (CANCEL_REQUESTED, 1) => Self::CancelRequested { at: only()? },
            (FINISHED, 1) => {
                let open: FinishedV1 = from_bytes(id, open)?;
                let message: Option<Option<String>> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                Self::Finished {
                    at: Timestamp(open.at),
                    status: RunStatus::from_number(open.status).ok_or(malformed)?,
                    code: open.code,
                    message: message.into(),
                    retry_at: open.retry_at.map(Timestamp),
                }
            }
            (EXPIRED, 1) => Self::Expired { at: only()? },
            (WALK_CONTINUED, 1) => {
                let place: Option<String> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                Self::WalkContinued {
                    at: only()?,
                    place: place.into(),
                }
            }
            _ => {
                return Err(DecodeError::UnknownType {
                    type_no,
                    type_version,
                });
            }
        })
    }

    fn samples() -> Vec<Self> {
        let at = Timestamp(1_767_225_600_000_000);
        let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let issue = StoredIssue {
            row: 17,
            severity: Severity::Failed,
            field: Some("email".into()),
            code: "email_invalid".into(),
            message: "must be an e-mail address".into(),
            about: Some(id),
            detail: vec![1, 2, 250],
        };
        let warning = StoredIssue {
            severity: Severity::Warning,
            field: None,
            about: None,
            ..issue.clone()
        };
        vec![
            Self::Queued {
                at,
                id,
                connection_id: Uuid::from_u128(7),
                trigger: Trigger::Schedule,
                is_full: true,
                dry_run: false,
                confirms_deletes: true,
                principal: Principal::ApiKey("k1".into()),
                subject: Personal::new("ada@example.org".into()),
            },
            Self::Started {
                at,
                is_full: false,
                cursor: Personal::new(Some("\"c1\"".into())),
                rows_before: 250_000,
            },
            Self::PageApplied {
                at,
                page: Box::new(Page {
                    pages: 2,
                    counts: counts_of([5, 4, 3, 2, 1]),
                    removals: removals_of([6, 3, 2, 1]),
                    warnings: 1,
                    marked: 14,
                    issues: vec![issue, warning],
                    place: Personal::new(Some("\"p2\"".into())),
                    cursor: Personal::new(Some("\"c2\"".into())),
                    ends_walk: true,
                }),
            },
            Self::RemovalsApplied {
                at,
                removals: removals_of([9, 4, 5, 0]),
            },
            Self::WalkRestarted {
                at,
                forgets_cursor: true,
            },
            Self::Interrupted { at },
            Self::CancelRequested { at },
            Self::Finished {
                at,
                status: RunStatus::RateLimited,
                code: Some("quota".into()),
                message: Personal::new(Some("the daily limit is reached".into())),
                retry_at: Some(at),
            },
            Self::Expired { at },
            Self::WalkContinued {
                at,
                place: Personal::new("\"p7\"".into()),
            },
        ]
    }
}
