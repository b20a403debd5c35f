//! What can happen to a suppression, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::{Personal, Timestamp};

/// A change of one suppression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionEvent {
    /// Imports and syncs skip the id from here on.
    Added {
        /// When.
        at: Timestamp,
        /// The id.
        customer_user_id: Personal<String>,
    },
    /// The id may be written again.
    Removed {
        /// When.
        at: Timestamp,
    },
}

/// `suppression.added` version 1.
const ADDED: i16 = 60;
/// `suppression.removed` version 1.
const REMOVED: i16 = 61;

#[derive(Serialize, Deserialize)]
struct AddedV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct AddedPersonalV1 {
    customer_user_id: String,
}

#[derive(Serialize, Deserialize)]
struct RemovedV1 {
    at: i64,
}

impl DomainEvent for SuppressionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Added { .. } => "suppression.added",
            Self::Removed { .. } => "suppression.removed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for SuppressionEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: ADDED,
            type_version: 1,
            name: "suppression.added",
        },
        EventType {
            type_no: REMOVED,
            type_version: 1,
            name: "suppression.removed",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open, personal) = match self {
            Self::Added {
                at,
                customer_user_id,
            } => (
                ADDED,
                to_bytes(&AddedV1 { at: at.0 }),
                customer_user_id.known().map(|id| {
                    to_bytes(&AddedPersonalV1 {
                        customer_user_id: id.clone(),
                    })
                }),
            ),
            Self::Removed { at } => (REMOVED, to_bytes(&RemovedV1 { at: at.0 }), None),
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
        Ok(match id {
            (ADDED, 1) => {
                let open: AddedV1 = from_bytes(id, open)?;
                let personal: Option<AddedPersonalV1> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                Self::Added {
                    at: Timestamp(open.at),
                    customer_user_id: personal.map(|part| part.customer_user_id).into(),
                }
            }
            (REMOVED, 1) => {
                let open: RemovedV1 = from_bytes(id, open)?;
                Self::Removed {
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
        vec![
            Self::Added {
                at,
                customer_user_id: Personal::new("ada".into()),
            },
            Self::Removed { at },
        ]
    }
}
