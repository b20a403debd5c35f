//! What can happen to an identity, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::{Personal, Timestamp};

/// A change of one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityEvent {
    /// Rules keep it apart from a customer from here on.
    Blocked {
        /// When.
        at: Timestamp,
        /// The channel.
        channel: String,
        /// The normalised external user id.
        external_user_id: Personal<String>,
        /// The customer.
        customer_ref: Uuid,
    },
    /// Rules may bind it to the customer again.
    Unblocked {
        /// When.
        at: Timestamp,
        /// The customer.
        customer_ref: Uuid,
    },
    /// Nothing is left to know, so the key is destroyed.
    Forgotten {
        /// When.
        at: Timestamp,
    },
}

/// `identity.blocked` version 1.
const BLOCKED: i16 = 80;
/// `identity.unblocked` version 1.
const UNBLOCKED: i16 = 81;
/// `identity.forgotten` version 1.
const FORGOTTEN: i16 = 82;

#[derive(Serialize, Deserialize)]
struct BlockedV1 {
    at: i64,
    channel: String,
    customer_ref: Uuid,
}

#[derive(Serialize, Deserialize)]
struct BlockedPersonalV1 {
    external_user_id: String,
}

#[derive(Serialize, Deserialize)]
struct UnblockedV1 {
    at: i64,
    customer_ref: Uuid,
}

#[derive(Serialize, Deserialize)]
struct ForgottenV1 {
    at: i64,
}

impl DomainEvent for IdentityEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Blocked { .. } => "identity.blocked",
            Self::Unblocked { .. } => "identity.unblocked",
            Self::Forgotten { .. } => "identity.forgotten",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for IdentityEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: BLOCKED,
            type_version: 1,
            name: "identity.blocked",
        },
        EventType {
            type_no: UNBLOCKED,
            type_version: 1,
            name: "identity.unblocked",
        },
        EventType {
            type_no: FORGOTTEN,
            type_version: 1,
            name: "identity.forgotten",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open, personal) = match self {
            Self::Blocked {
                at,
                channel,
                external_user_id,
                customer_ref,
            } => (
                BLOCKED,
                to_bytes(&BlockedV1 {
                    at: at.0,
                    channel: channel.clone(),
                    customer_ref: *customer_ref,
                }),
                external_user_id.known().map(|id| {
                    to_bytes(&BlockedPersonalV1 {
                        external_user_id: id.clone(),
                    })
                }),
            ),
            Self::Unblocked { at, customer_ref } => (
                UNBLOCKED,
                to_bytes(&UnblockedV1 {
                    at: at.0,
                    customer_ref: *customer_ref,
                }),
                None,
            ),
            Self::Forgotten { at } => (FORGOTTEN, to_bytes(&ForgottenV1 { at: at.0 }), None),
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
            (BLOCKED, 1) => {
                let open: BlockedV1 = from_bytes(id, open)?;
                let personal: Option<BlockedPersonalV1> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                Self::Blocked {
                    at: Timestamp(open.at),
                    channel: open.channel,
                    external_user_id: personal.map(|part| part.external_user_id).into(),
                    customer_ref: open.customer_ref,
                }
            }
            (UNBLOCKED, 1) => {
                let open: UnblockedV1 = from_bytes(id, open)?;
                Self::Unblocked {
                    at: Timestamp(open.at),
                    customer_ref: open.customer_ref,
                }
            }
            (FORGOTTEN, 1) => {
                let open: ForgottenV1 = from_bytes(id, open)?;
                Self::Forgotten {
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
        let customer_ref = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        vec![
            Self::Blocked {
                at,
                channel: "whatsapp".into(),
                external_user_id: Personal::new("+491701234567".into()),
                customer_ref,
            },
            Self::Unblocked { at, customer_ref },
            Self::Forgotten { at },
        ]
    }
}
