//! What can happen to a purge, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{OpenFilter, PurgeCounts, PurgeStatus, StoredFailure};
use crate::customer::SourceKind;
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::meta::Principal;
use crate::{Personal, Timestamp};

/// A change of one purge. Failures come sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeEvent {
    /// The purge runs from here on; its customers are staged.
    Started {
        /// When.
        at: Timestamp,
        /// The purge's own id: that of its stream.
        id: Uuid,
        /// What the customers were found by; `None` where they were named.
        filter: Option<OpenFilter>,
        /// Whether they were found by values too, which are staged sealed.
        is_sought: bool,
        /// How many matched.
        matched: u64,
        /// How many of them are purged.
        total: u64,
        /// What kind of credential asked.
        principal: Principal,
        /// The subject of a token.
        subject: Personal<String>,
        /// The keyed hash of the request, by which the same one is known.
        request: Personal<String>,
    },
    /// The next customers are done; those who were erased were so in the same append.
    ChunkApplied {
        /// When.
        at: Timestamp,
        /// What became of them.
        counts: PurgeCounts,
        /// Those that could not be erased.
        failures: Vec<StoredFailure>,
    },
    /// A person wants it to stop.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// The purge ended.
    Finished {
        /// When.
        at: Timestamp,
        /// How it ended.
        status: PurgeStatus,
    },
    /// Its retention is over: its key is destroyed.
    Expired {
        /// When.
        at: Timestamp,
    },
}

/// `purge.started` version 1.
const STARTED: i16 = 62;
/// `purge.chunk_applied` version 1.
const CHUNK_APPLIED: i16 = 63;
/// `purge.cancel_requested` version 1.
const CANCEL_REQUESTED: i16 = 64;
/// `purge.finished` version 1.
const FINISHED: i16 = 65;
/// `purge.expired` version 1.
const EXPIRED: i16 = 66;

#[derive(Serialize, Deserialize)]
struct StartedV1 {
    at: i64,
    id: [u8; 16],
    filter: Option<OpenFilterV1>,
    is_sought: bool,
    matched: u64,
    total: u64,
    principal: u8,
    key_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct OpenFilterV1 {
    enabled: Option<bool>,
    source_kind: Option<i16>,
    source_provider: Option<String>,
    source_connection: Option<String>,
    updated_since: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct StartedPersonalV1 {
    subject: Option<String>,
    request: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ChunkAppliedV1 {
    at: i64,
    deleted: u64,
    not_found: u64,
    failed: u64,
    failures: Vec<FailureV1>,
}

#[derive(Serialize, Deserialize)]
struct FailureV1 {
    about: Option<[u8; 16]>,
    reason: String,
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
}

#[derive(Serialize, Deserialize)]
struct ExpiredV1 {
    at: i64,
}

impl From<&OpenFilter> for OpenFilterV1 {
    fn from(filter: &OpenFilter) -> Self {
        Self {
            enabled: filter.enabled,
            source_kind: filter.source_kind.map(SourceKind::number),
            source_provider: filter.source_provider.clone(),
            source_connection: filter.source_connection.clone(),
            updated_since: filter.updated_since.map(|at| at.0),
        }
    }
}

impl From<OpenFilterV1> for OpenFilter {
    fn from(filter: OpenFilterV1) -> Self {
        Self {
            enabled: filter.enabled,
            source_kind: filter.source_kind.and_then(SourceKind::from_number),
            source_provider: filter.source_provider,
            source_connection: filter.source_connection,
            updated_since: filter.updated_since.map(Timestamp),
        }
    }
}

impl From<&StoredFailure> for FailureV1 {
    fn from(failure: &StoredFailure) -> Self {
        Self {
            about: failure.about.map(Uuid::into_bytes),
            reason: failure.reason.clone(),
            detail: failure.detail.clone(),
        }
    }
}

impl From<FailureV1> for StoredFailure {
    fn from(failure: FailureV1) -> Self {
        Self {
            about: failure.about.map(Uuid::from_bytes),
            reason: failure.reason,
            detail: failure.detail,
        }
    }
}

fn principal_parts(principal: &Principal) -> (u8, Option<String>) {
    match principal {
        Principal::System => (0, None),
        Principal::ApiKey(id) => (1, Some(id.clone())),
        Principal::Token => (2, None),
    }
}

fn principal_of(number: u8, key_id: Option<String>) -> Option<Principal> {
    match (number, key_id) {
        (0, _) => Some(Principal::System),
        (1, Some(id)) => Some(Principal::ApiKey(id)),
        (2, _) => Some(Principal::Token),
        _ => None,
    }
}

impl DomainEvent for PurgeEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Started { .. } => "purge.started",
            Self::ChunkApplied { .. } => "purge.chunk_applied",
            Self::CancelRequested { .. } => "purge.cancel_requested",
            Self::Finished { .. } => "purge.finished",
            Self::Expired { .. } => "purge.expired",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for PurgeEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: STARTED,
            type_version: 1,
            name: "purge.started",
        },
        EventType {
            type_no: CHUNK_APPLIED,
            type_version: 1,
            name: "purge.chunk_applied",
        },
        EventType {
            type_no: CANCEL_REQUESTED,
            type_version: 1,
            name: "purge.cancel_requested",
        },
        EventType {
            type_no: FINISHED,
            type_version: 1,
            name: "purge.finished",
        },
        EventType {
            type_no: EXPIRED,
            type_version: 1,
            name: "purge.expired",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open, personal) = match self {
            Self::Started {
                at,
                id,
                filter,
                is_sought,
                matched,
                total,
                principal,
                subject,
                request,
            } => {
                let (principal, key_id) = principal_parts(principal);
                let open = StartedV1 {
                    at: at.0,
                    id: id.into_bytes(),
                    filter: filter.as_ref().map(OpenFilterV1::from),
                    is_sought: *is_sought,
                    matched: *matched,
                    total: *total,
                    principal,
                    key_id,
                };
                let personal = StartedPersonalV1 {
                    subject: subject.known().cloned(),
                    request: request.known().cloned(),
                };
                (STARTED, to_bytes(&open), Some(to_bytes(&personal)))
            }
            Self::ChunkApplied {
                at,
                counts,
                failures,
            } => {
                let open = ChunkAppliedV1 {
                    at: at.0,
                    deleted: counts.deleted,
                    not_found: counts.not_found,
                    failed: counts.failed,
                    failures: failures.iter().map(FailureV1::from).collect(),
                };
                (CHUNK_APPLIED, to_bytes(&open), None)
            }
            Self::CancelRequested { at } => (
                CANCEL_REQUESTED,
                to_bytes(&CancelRequestedV1 { at: at.0 }),
                None,
            ),
            Self::Finished { at, status } => {
                let open = FinishedV1 {
                    at: at.0,
                    status: status.number(),
                };
                (FINISHED, to_bytes(&open), None)
            }
            Self::Expired { at } => (EXPIRED, to_bytes(&ExpiredV1 { at: at.0 }), None),
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
        Ok(match id {
            (STARTED, 1) => {
                let open: StartedV1 = from_bytes(id, open)?;
                let personal: Option<StartedPersonalV1> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                let (subject, request) = personal
                    .map(|part| (part.subject, part.request))
                    .unwrap_or_default();
                Self::Started {
                    at: Timestamp(open.at),
                    id: Uuid::from_bytes(open.id),
                    filter: open.filter.map(OpenFilter::from),
                    is_sought: open.is_sought,
                    matched: open.matched,
                    total: open.total,
                    principal: principal_of(open.principal, open.key_id).ok_or(malformed)?,
                    subject: subject.into(),
                    request: request.into(),
                }
            }
            (CHUNK_APPLIED, 1) => {
                let open: ChunkAppliedV1 = from_bytes(id, open)?;
                Self::ChunkApplied {
                    at: Timestamp(open.at),
                    counts: PurgeCounts {
                        deleted: open.deleted,
                        not_found: open.not_found,
                        failed: open.failed,
                    },
                    failures: open.failures.into_iter().map(StoredFailure::from).collect(),
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
                Self::Finished {
                    at: Timestamp(open.at),
                    status: PurgeStatus::from_number(open.status).ok_or(malformed)?,
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
        vec![
            Self::Started {
                at,
                id,
                filter: Some(OpenFilter {
                    enabled: Some(true),
                    source_kind: Some(SourceKind::DirectorySync),
                    source_provider: Some("hubspot".into()),
                    source_connection: Some("dconn_1".into()),
                    updated_since: Some(at),
                }),
                is_sought: true,
                matched: 7_000,
                total: 5_000,
                principal: Principal::ApiKey("k1".into()),
                subject: Personal::new("ada@example.org".into()),
                request: Personal::new("00ff".into()),
            },
            Self::ChunkApplied {
                at,
                counts: PurgeCounts {
                    deleted: 5,
                    not_found: 4,
                    failed: 1,
                },
                failures: vec![StoredFailure {
                    about: Some(id),
                    reason: "the record cannot be read".into(),
                    detail: vec![1, 2, 250],
                }],
            },
            Self::CancelRequested { at },
            Self::Finished {
                at,
                status: PurgeStatus::CompletedWithErrors,
            },
            Self::Expired { at },
        ]
    }
}
