//! What can happen to a connection, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Credentials, DeleteMissing, FieldMapping, Mode, Schedule, Settings, Setup, Transform};
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::import::OnConflict;
use crate::sync_run::{RunStatus, Trigger};
use crate::{Personal, Timestamp};

/// A change of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionEvent {
    /// It was created, or settled anew.
    Saved {
        /// When.
        at: Timestamp,
        /// The connection's own id: that of its stream.
        id: Uuid,
        /// How.
        settings: Box<Settings>,
        /// Whether the source is read in another way, so that the next run is full.
        clears_cursor: bool,
    },
    /// A run of it waits.
    RunQueued {
        /// When.
        at: Timestamp,
        /// Which.
        run_id: Uuid,
        /// Why.
        trigger: Trigger,
        /// Whether it asks for everything.
        is_full: bool,
    },
    /// The next run asks for changes from here on.
    CursorMoved {
        /// When.
        at: Timestamp,
        /// JSON text, as the source gave it: it may hold a value of a record.
        cursor: Personal<String>,
    },
    /// A run ended.
    RunFinished {
        /// When.
        at: Timestamp,
        /// Which.
        run_id: Uuid,
        /// How.
        status: RunStatus,
        /// Why it did not succeed, as a stable word.
        code: Option<String>,
        /// When the source answers again.
        retry_at: Option<Timestamp>,
        /// Whether the cursor no longer counts.
        clears_cursor: bool,
    },
    /// It is no more: its key is destroyed.
    Deleted {
        /// When.
        at: Timestamp,
    },
}

/// `connection.saved` version 1.
const SAVED: i16 = 90;
/// `connection.run_queued` version 1.
const RUN_QUEUED: i16 = 91;
/// `connection.cursor_moved` version 1.
const CURSOR_MOVED: i16 = 92;
/// `connection.run_finished` version 1.
const RUN_FINISHED: i16 = 93;
/// `connection.deleted` version 1.
const DELETED: i16 = 94;

#[expect(
    clippy::struct_excessive_bools,
    reason = "a stored shape, which is read by no rule"
)]
#[derive(Serialize, Deserialize)]
struct SavedV1 {
    at: i64,
    id: [u8; 16],
    name: String,
    provider: String,
    is_incremental: bool,
    delete_missing: u8,
    delete_guard_pct: u8,
    skips_existing: bool,
    schedule: Option<(String, String)>,
    full_schedule: Option<(String, String)>,
    enabled: bool,
    clears_cursor: bool,
}

#[derive(Serialize, Deserialize)]
struct SetupV1 {
    kind: String,
    parts: Vec<(String, String)>,
    config: String,
    mapping: Vec<FieldMappingV1>,
}

#[derive(Serialize, Deserialize)]
struct FieldMappingV1 {
    source: String,
    target: String,
    transform: Option<u8>,
    default: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RunQueuedV1 {
    at: i64,
    run_id: [u8; 16],
    trigger: u8,
    is_full: bool,
}

#[derive(Serialize, Deserialize)]
struct CursorMovedV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct RunFinishedV1 {
    at: i64,
    run_id: [u8; 16],
    status: u8,
    code: Option<String>,
    retry_at: Option<i64>,
    clears_cursor: bool,
}

#[derive(Serialize, Deserialize)]
struct DeletedV1 {
    at: i64,
}

impl From<&Setup> for SetupV1 {
    fn from(setup: &Setup) -> Self {
        let Credentials { kind, parts } = setup.credentials.clone();
        let mapping = setup.mapping.iter().map(|line| FieldMappingV1 {
            source: line.source.clone(),
            target: line.target.clone(),
            transform: line.transform.map(Transform::number),
            default: line.default.clone(),
        });
        Self {
            kind,
            parts: parts.into_iter().collect(),
            config: setup.config.clone(),
            mapping: mapping.collect(),
        }
    }
}

impl From<SetupV1> for Setup {
    fn from(stored: SetupV1) -> Self {
        let mapping = stored.mapping.into_iter().map(|line| FieldMapping {
            source: line.source,
            target: line.target,
            transform: line.transform.and_then(Transform::from_number),
            default: line.default,
        });
        Self {
            credentials: Credentials {
                kind: stored.kind,
                parts: stored.parts.into_iter().collect(),
            },
            config: stored.config,
            mapping: mapping.collect(),
        }
    }
}

impl DomainEvent for ConnectionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Saved { .. } => "connection.saved",
            Self::RunQueued { .. } => "connection.run_queued",
            Self::CursorMoved { .. } => "connection.cursor_moved",
            Self::RunFinished { .. } => "connection.run_finished",
            Self::Deleted { .. } => "connection.deleted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for ConnectionEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: SAVED,
            type_version: 1,
            name: "connection.saved",
        },
        EventType {
            type_no: RUN_QUEUED,
            type_version: 1,
            name: "connection.run_queued",
        },
        EventType {
            type_no: CURSOR_MOVED,
            type_version: 1,
            name: "connection.cursor_moved",
        },
        EventType {
            type_no: RUN_FINISHED,
            type_version: 1,
            name: "connection.run_finished",
        },
        EventType {
            type_no: DELETED,
            type_version: 1,
            name: "connection.deleted",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open, personal) = match self {
            Self::Saved {
                at,
                id,
                settings,
                clears_cursor,
            } => {
                let times = |schedule: &Option<Schedule>| {
                    let schedule = schedule.as_ref()?;
                    Some((schedule.cron.clone(), schedule.time_zone.clone()))
                };
                let open = SavedV1 {
                    at: at.0,
                    id: id.into_bytes(),
                    name: settings.name.clone(),
                    provider: settings.provider.clone(),
                    is_incremental: settings.mode == Mode::Incremental,
                    delete_missing: settings.delete_missing as u8,
                    delete_guard_pct: settings.delete_guard_pct,
                    skips_existing: settings.on_conflict == OnConflict::Skip,
                    schedule: times(&settings.schedule),
                    full_schedule: times(&settings.full_schedule),
                    enabled: settings.enabled,
                    clears_cursor: *clears_cursor,
                };
                let personal = settings.setup.known();
                let personal = personal.map(|setup| to_bytes(&SetupV1::from(setup)));
                (SAVED, to_bytes(&open), personal)
            }
            Self::RunQueued {
                at,
                run_id,
                trigger,
                is_full,
            } => {
                let open = RunQueuedV1 {
                    at: at.0,
                    run_id: run_id.into_bytes(),
                    trigger: trigger.number(),
                    is_full: *is_full,
                };
                (RUN_QUEUED, to_bytes(&open), None)
            }
            Self::CursorMoved { at, cursor } => {
                let open = to_bytes(&CursorMovedV1 { at: at.0 });
                (CURSOR_MOVED, open, cursor.known().map(to_bytes))
            }
            Self::RunFinished {
                at,
                run_id,
                status,
                code,
                retry_at,
                clears_cursor,
            } => {
                let open = RunFinishedV1 {
                    at: at.0,
                    run_id: run_id.into_bytes(),
                    status: status.number(),
                    code: code.clone(),
                    retry_at: retry_at.map(|at| at.0),
                    clears_cursor: *clears_cursor,
                };
                (RUN_FINISHED, to_bytes(&open), None)
            }
            Self::Deleted { at } => (DELETED, to_bytes(&DeletedV1 { at: at.0 }), None),
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
            (SAVED, 1) => {
                let open: SavedV1 = from_bytes(id, open)?;
                let setup: Option<SetupV1> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                let schedule = |(cron, time_zone)| Schedule { cron, time_zone };
                let settings = Settings {
                    name: open.name,
                    provider: open.provider,
                    setup: setup.map(Setup::from).into(),
                    mode: if open.is_incremental {
                        Mode::Incremental
                    } else {
                        Mode::Full
                    },
                    delete_missing: match open.delete_missing {
                        0 => DeleteMissing::None,
                        1 => DeleteMissing::Disable,
                        2 => DeleteMissing::Delete,
                        _ => return Err(malformed),
                    },
                    delete_guard_pct: open.delete_guard_pct,
                    on_conflict: if open.skips_existing {
                        OnConflict::Skip
                    } else {
                        OnConflict::Update
                    },
                    schedule: open.schedule.map(schedule),
                    full_schedule: open.full_schedule.map(schedule),
                    enabled: open.enabled,
                };
                Self::Saved {
                    at: Timestamp(open.at),
                    id: Uuid::from_bytes(open.id),
                    settings: Box::new(settings),
                    clears_cursor: open.clears_cursor,
                }
            }
            (RUN_QUEUED, 1) => {
                let open: RunQueuedV1 = from_bytes(id, open)?;
                Self::RunQueued {
                    at: Timestamp(open.at),
                    run_id: Uuid::from_bytes(open.run_id),
                    trigger: Trigger::from_number(open.trigger).ok_or(malformed)?,
                    is_full: open.is_full,
                }
            }
            (CURSOR_MOVED, 1) => {
                let open: CursorMovedV1 = from_bytes(id, open)?;
                let cursor: Option<String> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                Self::CursorMoved {
                    at: Timestamp(open.at),
                    cursor: cursor.into(),
                }
            }
            (RUN_FINISHED, 1) => {
                let open: RunFinishedV1 = from_bytes(id, open)?;
                Self::RunFinished {
                    at: Timestamp(open.at),
                    run_id: Uuid::from_bytes(open.run_id),
                    status: RunStatus::from_number(open.status).ok_or(malformed)?,
                    code: open.code,
                    retry_at: open.retry_at.map(Timestamp),
                    clears_cursor: open.clears_cursor,
                }
            }
            (DELETED, 1) => {
                let open: DeletedV1 = from_bytes(id, open)?;
                Self::Deleted {
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
        let run_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);
        let settings = Settings {
            name: "CRM".into(),
            provider: "hubspot".into(),
            setup: Personal::new(Setup {
                credentials: Credentials {
                    kind: "access_token".into(),
                    parts: [("access_token".to_owned(), "pat-1".to_owned())].into(),
                },
                config: "{\"archived\":true}".into(),
                mapping: vec![FieldMapping {
                    source: "properties.email".into(),
                    target: "email".into(),
                    transform: Some(Transform::Lower),
                    default: Some("none".into()),
                }],
            }),
            mode: Mode::Incremental,
            delete_missing: DeleteMissing::Disable,
            delete_guard_pct: 20,
            on_conflict: OnConflict::Skip,
            schedule: Some(Schedule {
                cron: "0 * * * *".into(),
                time_zone: "UTC".into(),
            }),
            full_schedule: Some(Schedule {
                cron: "0 3 * * 0".into(),
                time_zone: "Europe/Berlin".into(),
            }),
            enabled: true,
        };
        vec![
            Self::Saved {
                at,
                id,
                settings: Box::new(settings),
                clears_cursor: true,
            },
            Self::RunQueued {
                at,
                run_id,
                trigger: Trigger::Schedule,
                is_full: true,
            },
            Self::CursorMoved {
                at,
                cursor: Personal::new("\"2026-01-01T00:00:00Z\"".into()),
            },
            Self::RunFinished {
                at,
                run_id,
                status: RunStatus::RateLimited,
                code: Some("quota".into()),
                retry_at: Some(at),
                clears_cursor: false,
            },
            Self::Deleted { at },
        ]
    }
}
