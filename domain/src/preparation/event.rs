//! What can happen to a preparation, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::schema::{Definition, sample_definition};

/// A change of one preparation. Customers appear by their opaque reference: everything is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "these events are rare and short-lived"
)]
pub enum PreparationEvent {
    /// The job runs from here on.
    Started {
        /// When.
        at: Timestamp,
        /// The stream of the project's schema.
        schema_stream: Uuid,
        /// The definition that is to take effect.
        definition: Definition,
        /// The fields that are prepared.
        fields: Vec<String>,
        /// How many customers there are to check.
        total: u64,
    },
    /// The job got further.
    Progressed {
        /// When.
        at: Timestamp,
        /// How many customers are checked in all.
        checked: u64,
        /// The last claim key that is done.
        cursor: Vec<u8>,
    },
    /// Two customers have the same value.
    DuplicateFound {
        /// When.
        at: Timestamp,
        /// The field.
        field: String,
        /// The customer who could not take the claim.
        customer_ref: Uuid,
        /// The customer who holds it.
        holder_ref: Uuid,
    },
    /// The job ended.
    Finished {
        /// When.
        at: Timestamp,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a preparation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every value is read and claimed.
    Ready,
    /// Some customers have the same value.
    Duplicates,
    /// The job gave up, or its definition is no longer wanted.
    Failed,
}

impl Outcome {
    const fn number(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Duplicates => 1,
            Self::Failed => 2,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ready),
            1 => Some(Self::Duplicates),
            2 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// `preparation.started` version 1.
const STARTED: i16 = 30;
/// `preparation.progressed` version 1.
const PROGRESSED: i16 = 31;
/// `preparation.duplicate_found` version 1.
const DUPLICATE_FOUND: i16 = 32;
/// `preparation.finished` version 1.
const FINISHED: i16 = 33;

#[derive(Serialize, Deserialize)]
struct StartedV1 {
    at: i64,
    schema_stream: [u8; 16],
    definition: String,
    fields: Vec<String>,
    total: u64,
}

#[derive(Serialize, Deserialize)]
struct ProgressedV1 {
    at: i64,
    checked: u64,
    cursor: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct DuplicateFoundV1 {
    at: i64,
    field: String,
    customer_ref: [u8; 16],
    holder_ref: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct FinishedV1 {
    at: i64,
    outcome: u8,
}

impl DomainEvent for PreparationEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Started { .. } => "preparation.started",
            Self::Progressed { .. } => "preparation.progressed",
            Self::DuplicateFound { .. } => "preparation.duplicate_found",
            Self::Finished { .. } => "preparation.finished",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for PreparationEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: STARTED,
            type_version: 1,
            name: "preparation.started",
        },
        EventType {
            type_no: PROGRESSED,
            type_version: 1,
            name: "preparation.progressed",
        },
        EventType {
            type_no: DUPLICATE_FOUND,
            type_version: 1,
            name: "preparation.duplicate_found",
        },
        EventType {
            type_no: FINISHED,
            type_version: 1,
            name: "preparation.finished",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open) = match self {
            Self::Started {
                at,
                schema_stream,
                definition,
                fields,
                total,
            } => (
                STARTED,
                to_bytes(&StartedV1 {
                    at: at.0,
                    schema_stream: schema_stream.into_bytes(),
                    definition: definition.to_json(),
                    fields: fields.clone(),
                    total: *total,
                }),
            ),
            Self::Progressed {
                at,
                checked,
                cursor,
            } => (
                PROGRESSED,
                to_bytes(&ProgressedV1 {
                    at: at.0,
                    checked: *checked,
                    cursor: cursor.clone(),
                }),
            ),
            Self::DuplicateFound {
                at,
                field,
                customer_ref,
                holder_ref,
            } => (
                DUPLICATE_FOUND,
                to_bytes(&DuplicateFoundV1 {
                    at: at.0,
                    field: field.clone(),
                    customer_ref: customer_ref.into_bytes(),
                    holder_ref: holder_ref.into_bytes(),
                }),
            ),
            Self::Finished { at, outcome } => (
                FINISHED,
                to_bytes(&FinishedV1 {
                    at: at.0,
                    outcome: outcome.number(),
                }),
            ),
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
        let malformed = || DecodeError::Malformed {
            type_no,
            type_version,
        };
        Ok(match id {
            (STARTED, 1) => {
                let open: StartedV1 = from_bytes(id, open)?;
                Self::Started {
                    at: Timestamp(open.at),
                    schema_stream: Uuid::from_bytes(open.schema_stream),
                    definition: serde_json::from_str(&open.definition).map_err(|_| malformed())?,
                    fields: open.fields,
                    total: open.total,
                }
            }
            (PROGRESSED, 1) => {
                let open: ProgressedV1 = from_bytes(id, open)?;
                Self::Progressed {
                    at: Timestamp(open.at),
                    checked: open.checked,
                    cursor: open.cursor,
                }
            }
            (DUPLICATE_FOUND, 1) => {
                let open: DuplicateFoundV1 = from_bytes(id, open)?;
                Self::DuplicateFound {
                    at: Timestamp(open.at),
                    field: open.field,
                    customer_ref: Uuid::from_bytes(open.customer_ref),
                    holder_ref: Uuid::from_bytes(open.holder_ref),
                }
            }
            (FINISHED, 1) => {
                let open: FinishedV1 = from_bytes(id, open)?;
                let outcome = Outcome::from_number(open.outcome).ok_or_else(malformed)?;
                Self::Finished {
                    at: Timestamp(open.at),
                    outcome,
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
        let id = |last: u128| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + last);
        vec![
            Self::Started {
                at,
                schema_stream: id(1),
                definition: sample_definition(),
                fields: vec!["email".into()],
                total: 25_000,
            },
            Self::Progressed {
                at,
                checked: 500,
                cursor: vec![0, 127, 255],
            },
            Self::DuplicateFound {
                at,
                field: "email".into(),
                customer_ref: id(2),
                holder_ref: id(3),
            },
            Self::Finished {
                at,
                outcome: Outcome::Duplicates,
            },
        ]
    }
}
