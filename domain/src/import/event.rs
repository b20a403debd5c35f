//! What can happen to an import, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Counts, EmptyCells, ImportStatus, OnConflict, Severity, StoredIssue};
use crate::Timestamp;
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};

/// A change of one import. Findings come sealed: everything here is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportEvent {
    /// The import runs from here on; its body is staged.
    Started {
        /// When.
        at: Timestamp,
        /// The import's own id: that of its stream.
        id: Uuid,
        /// The provider of the tag that rows get.
        provider: String,
        /// The byte between cells.
        delimiter: u8,
        /// What happens to rows whose customer exists.
        on_conflict: OnConflict,
        /// What an empty cell means.
        empty_cells: EmptyCells,
        /// Whether nothing is written.
        dry_run: bool,
        /// The cells of the header row.
        header: Vec<String>,
        /// Where the first data row starts in the staged UTF-8 text, in bytes.
        body_offset: u64,
        /// How many chunks are staged.
        staged_chunks: u32,
        /// How long the staged UTF-8 text is, in bytes.
        staged_bytes: u64,
    },
    /// The next rows are done; their customers changed in the same append.
    ChunkApplied {
        /// When.
        at: Timestamp,
        /// Where the row after them starts, in bytes.
        next_offset: u64,
        /// How many rows were read.
        rows: u64,
        /// What became of them.
        counts: Counts,
        /// How many warnings there were.
        warnings: u64,
        /// The findings that are kept.
        issues: Vec<StoredIssue>,
    },
    /// A person wants it to stop.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// The import ended.
    Finished {
        /// When.
        at: Timestamp,
        /// How it ended.
        status: ImportStatus,
        /// Why it did not complete. Never about a person.
        reason: Option<String>,
    },
    /// Its retention is over: the key of its findings is destroyed.
    Expired {
        /// When.
        at: Timestamp,
    },
}

/// `import.started` version 1.
const STARTED: i16 = 40;
/// `import.chunk_applied` version 1.
const CHUNK_APPLIED: i16 = 41;
/// `import.cancel_requested` version 1.
const CANCEL_REQUESTED: i16 = 42;
/// `import.finished` version 1.
const FINISHED: i16 = 43;
/// `import.expired` version 1.
const EXPIRED: i16 = 44;

#[derive(Serialize, Deserialize)]
struct StartedV1 {
    at: i64,
    id: [u8; 16],
    provider: String,
    delimiter: u8,
    skips_existing: bool,
    keeps_empty: bool,
    dry_run: bool,
    header: Vec<String>,
    body_offset: u64,
    staged_chunks: u32,
    staged_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct ChunkAppliedV1 {
    at: i64,
    next_offset: u64,
    rows: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    skipped: u64,
    failed: u64,
    warnings: u64,
    issues: Vec<IssueV1>,
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
struct CancelRequestedV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct FinishedV1 {
    at: i64,
    status: u8,
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ExpiredV1 {
    at: i64,
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

impl DomainEvent for ImportEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Started { .. } => "import.started",
            Self::ChunkApplied { .. } => "import.chunk_applied",
            Self::CancelRequested { .. } => "import.cancel_requested",
            Self::Finished { .. } => "import.finished",
            Self::Expired { .. } => "import.expired",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for ImportEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: STARTED,
            type_version: 1,
            name: "import.started",
        },
        EventType {
            type_no: CHUNK_APPLIED,
            type_version: 1,
            name: "import.chunk_applied",
        },
        EventType {
            type_no: CANCEL_REQUESTED,
            type_version: 1,
            name: "import.cancel_requested",
        },
        EventType {
            type_no: FINISHED,
            type_version: 1,
            name: "import.finished",
        },
        EventType {
            type_no: EXPIRED,
            type_version: 1,
            name: "import.expired",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open) = match self {
            Self::Started {
                at,
                id,
                provider,
                delimiter,
                on_conflict,
                empty_cells,
                dry_run,
                header,
                body_offset,
                staged_chunks,
                staged_bytes,
            } => (
                STARTED,
                to_bytes(&StartedV1 {
                    at: at.0,
                    id: id.into_bytes(),
                    provider: provider.clone(),
                    delimiter: *delimiter,
                    skips_existing: *on_conflict == OnConflict::Skip,
                    keeps_empty: *empty_cells == EmptyCells::Keep,
                    dry_run: *dry_run,
                    header: header.clone(),
                    body_offset: *body_offset,
                    staged_chunks: *staged_chunks,
                    staged_bytes: *staged_bytes,
                }),
            ),
            Self::ChunkApplied {
                at,
                next_offset,
                rows,
                counts,
                warnings,
                issues,
            } => (
                CHUNK_APPLIED,
                to_bytes(&ChunkAppliedV1 {
                    at: at.0,
                    next_offset: *next_offset,
                    rows: *rows,
                    created: counts.created,
                    updated: counts.updated,
                    unchanged: counts.unchanged,
                    skipped: counts.skipped,
                    failed: counts.failed,
                    warnings: *warnings,
                    issues: issues.iter().map(IssueV1::from).collect(),
                }),
            ),
            Self::CancelRequested { at } => {
                (CANCEL_REQUESTED, to_bytes(&CancelRequestedV1 { at: at.0 }))
            }
            Self::Finished { at, status, reason } => (
                FINISHED,
                to_bytes(&FinishedV1 {
                    at: at.0,
                    status: status.number(),
                    reason: reason.clone(),
                }),
            ),
            Self::Expired { at } => (EXPIRED, to_bytes(&ExpiredV1 { at: at.0 })),
        };
        Encoded {
            type_no,
            type_version: 1,
            open,
            personal: None,
        }
    }

    fn decode(
        type_no: i16,
        type_version: i16,
        open: &[u8],
        _: Option<&[u8]>,
    ) -> Result<Self, DecodeError> {
        let id = (type_no, type_version);
        Ok(match id {
            (STARTED, 1) => {
                let open: StartedV1 = from_bytes(id, open)?;
                Self::Started {
                    at: Timestamp(open.at),
                    id: Uuid::from_bytes(open.id),
                    provider: open.provider,
                    delimiter: open.delimiter,
                    on_conflict: if open.skips_existing {
                        OnConflict::Skip
                    } else {
                        OnConflict::Update
                    },
                    empty_cells: if open.keeps_empty {
                        EmptyCells::Keep
                    } else {
                        EmptyCells::Clear
                    },
                    dry_run: open.dry_run,
                    header: open.header,
                    body_offset: open.body_offset,
                    staged_chunks: open.staged_chunks,
                    staged_bytes: open.staged_bytes,
                }
            }
            (CHUNK_APPLIED, 1) => {
                let open: ChunkAppliedV1 = from_bytes(id, open)?;
                Self::ChunkApplied {
                    at: Timestamp(open.at),
                    next_offset: open.next_offset,
                    rows: open.rows,
                    counts: Counts {
                        created: open.created,
                        updated: open.updated,
                        unchanged: open.unchanged,
                        skipped: open.skipped,
                        failed: open.failed,
                    },
                    warnings: open.warnings,
                    issues: open.issues.into_iter().map(StoredIssue::from).collect(),
                }
            }
            (CANCEL_REQUESTED, 1) => {
                let open: CancelRequestedV1 = from_bytes(id, open)?;
                Self::CancelRequested {
                    at: Timestamp(open.at),
                }
            }
            (FINISHED, 1) => {
                let open: FinishedV1 = from_bytes(id, open)?;
                let status =
                    ImportStatus::from_number(open.status).ok_or(DecodeError::Malformed {
                        type_no,
                        type_version,
                    })?;
                Self::Finished {
                    at: Timestamp(open.at),
                    status,
                    reason: open.reason,
                }
            }
            (EXPIRED, 1) => {
                let open: ExpiredV1 = from_bytes(id, open)?;
                Self::Expired {
                    at: Timestamp(open.at),
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
            severity: Severity::Warning,
            field: Some("email".into()),
            code: "email_invalid".into(),
            message: "must be an e-mail address".into(),
            about: Some(id),
            detail: vec![1, 2, 250],
        };
        let failed = StoredIssue {
            severity: Severity::Failed,
            field: None,
            about: None,
            ..issue.clone()
        };
        vec![
            Self::Started {
                at,
                id,
                provider: "csv_file".into(),
                delimiter: b';',
                on_conflict: OnConflict::Skip,
                empty_cells: EmptyCells::Keep,
                dry_run: true,
                header: vec!["customer_user_id".into(), "email".into()],
                body_offset: 24,
                staged_chunks: 3,
                staged_bytes: 3_000_000,
            },
            Self::ChunkApplied {
                at,
                next_offset: 1_048_576,
                rows: 15,
                counts: Counts {
                    created: 5,
                    updated: 4,
                    unchanged: 3,
                    skipped: 2,
                    failed: 1,
                },
                warnings: 1,
                issues: vec![issue, failed],
            },
            Self::CancelRequested { at },
            Self::Finished {
                at,
                status: ImportStatus::Interrupted,
                reason: Some("the body is gone".into()),
            },
            Self::Expired { at },
        ]
    }
}
