//! What can happen to the wildcard of a channel, and the frozen shapes in the log. Nothing in them is about a person.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::access::{Terms, TermsV1};
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};

/// A change of the wildcard of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelAccessEvent {
    /// Everybody on the channel may use these agents from here on.
    Granted {
        /// When.
        at: Timestamp,
        /// The channel.
        channel: String,
        /// Which agents, and whether.
        terms: Terms,
    },
    /// Nobody may by this grant.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

/// `channel_access.granted` version 1.
const GRANTED: i16 = 70;
/// `channel_access.revoked` version 1.
const REVOKED: i16 = 71;

#[derive(Serialize, Deserialize)]
struct GrantedV1 {
    at: i64,
    channel: String,
    terms: TermsV1,
}

#[derive(Serialize, Deserialize)]
struct RevokedV1 {
    at: i64,
}

impl DomainEvent for ChannelAccessEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Granted { .. } => "channel_access.granted",
            Self::Revoked { .. } => "channel_access.revoked",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for ChannelAccessEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: GRANTED,
            type_version: 1,
            name: "channel_access.granted",
        },
        EventType {
            type_no: REVOKED,
            type_version: 1,
            name: "channel_access.revoked",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open) = match self {
            Self::Granted { at, channel, terms } => (
                GRANTED,
                to_bytes(&GrantedV1 {
                    at: at.0,
                    channel: channel.clone(),
                    terms: terms.into(),
                }),
            ),
            Self::Revoked { at } => (REVOKED, to_bytes(&RevokedV1 { at: at.0 })),
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
            (GRANTED, 1) => {
                let open: GrantedV1 = from_bytes(id, open)?;
                Self::Granted {
                    at: Timestamp(open.at),
                    channel: open.channel,
                    terms: open.terms.into(),
                }
            }
            (REVOKED, 1) => {
                let open: RevokedV1 = from_bytes(id, open)?;
                Self::Revoked {
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
            Self::Granted {
                at,
                channel: "whatsapp".into(),
                terms: Terms {
                    agents: vec!["sales".into(), "support".into()],
                    enabled: true,
                    expires_at: Some(at.plus_seconds(60)),
                },
            },
            Self::Revoked { at },
        ]
    }
}
