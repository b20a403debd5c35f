//! What can happen to a schema, and the frozen shapes in the log.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Definition;
use super::definition::{Field, FieldType};
use crate::Timestamp;
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};

/// A change of one project's schema. Definitions are not about persons: everything is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaEvent {
    /// The definition is in effect from here on.
    Replaced {
        /// When.
        at: Timestamp,
        /// The new version, from 1.
        version: i32,
        /// The definition.
        definition: Definition,
        /// The preparation that made it possible.
        preparation_id: Option<Uuid>,
    },
    /// Stored values are being prepared for a definition.
    PreparationStarted {
        /// When.
        at: Timestamp,
        /// The job.
        preparation_id: Uuid,
        /// The definition that is to take effect.
        definition: Definition,
        /// The fields that are prepared.
        fields: Vec<String>,
    },
    /// A write during the preparation could not take its claim: there is a duplicate.
    PreparationVoided {
        /// When.
        at: Timestamp,
        /// The job.
        preparation_id: Uuid,
        /// The field with the duplicate.
        field: String,
    },
    /// The preparation job ended.
    PreparationEnded {
        /// When.
        at: Timestamp,
        /// The job.
        preparation_id: Uuid,
        /// Whether the definition can take effect.
        ready: bool,
    },
}

/// `schema.replaced` version 1.
const REPLACED: i16 = 20;
/// `schema.preparation_started` version 1.
const PREPARATION_STARTED: i16 = 21;
/// `schema.preparation_voided` version 1.
const PREPARATION_VOIDED: i16 = 22;
/// `schema.preparation_ended` version 1.
const PREPARATION_ENDED: i16 = 23;

#[derive(Serialize, Deserialize)]
struct ReplacedV1 {
    at: i64,
    version: i32,
    definition: String,
    preparation_id: Option<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
struct PreparationStartedV1 {
    at: i64,
    preparation_id: [u8; 16],
    definition: String,
    fields: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct PreparationVoidedV1 {
    at: i64,
    preparation_id: [u8; 16],
    field: String,
}

#[derive(Serialize, Deserialize)]
struct PreparationEndedV1 {
    at: i64,
    preparation_id: [u8; 16],
    ready: bool,
}

impl DomainEvent for SchemaEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Replaced { .. } => "schema.replaced",
            Self::PreparationStarted { .. } => "schema.preparation_started",
            Self::PreparationVoided { .. } => "schema.preparation_voided",
            Self::PreparationEnded { .. } => "schema.preparation_ended",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for SchemaEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: REPLACED,
            type_version: 1,
            name: "schema.replaced",
        },
        EventType {
            type_no: PREPARATION_STARTED,
            type_version: 1,
            name: "schema.preparation_started",
        },
        EventType {
            type_no: PREPARATION_VOIDED,
            type_version: 1,
            name: "schema.preparation_voided",
        },
        EventType {
            type_no: PREPARATION_ENDED,
            type_version: 1,
            name: "schema.preparation_ended",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open) = match self {
            Self::Replaced {
                at,
                version,
                definition,
                preparation_id,
            } => (
                REPLACED,
                to_bytes(&ReplacedV1 {
                    at: at.0,
                    version: *version,
                    definition: definition.to_json(),
                    preparation_id: preparation_id.map(Uuid::into_bytes),
                }),
            ),
            Self::PreparationStarted {
                at,
                preparation_id,
                definition,
                fields,
            } => (
                PREPARATION_STARTED,
                to_bytes(&PreparationStartedV1 {
                    at: at.0,
                    preparation_id: preparation_id.into_bytes(),
                    definition: definition.to_json(),
                    fields: fields.clone(),
                }),
            ),
            Self::PreparationVoided {
                at,
                preparation_id,
                field,
            } => (
                PREPARATION_VOIDED,
                to_bytes(&PreparationVoidedV1 {
                    at: at.0,
                    preparation_id: preparation_id.into_bytes(),
                    field: field.clone(),
                }),
            ),
            Self::PreparationEnded {
                at,
                preparation_id,
                ready,
            } => (
                PREPARATION_ENDED,
                to_bytes(&PreparationEndedV1 {
                    at: at.0,
                    preparation_id: preparation_id.into_bytes(),
                    ready: *ready,
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
        let definition = |text: &str| {
            serde_json::from_str::<Definition>(text).map_err(|_| DecodeError::Malformed {
                type_no,
                type_version,
            })
        };
        Ok(match id {
            (REPLACED, 1) => {
                let open: ReplacedV1 = from_bytes(id, open)?;
                Self::Replaced {
                    at: Timestamp(open.at),
                    version: open.version,
                    definition: definition(&open.definition)?,
                    preparation_id: open.preparation_id.map(Uuid::from_bytes),
                }
            }
            (PREPARATION_STARTED, 1) => {
                let open: PreparationStartedV1 = from_bytes(id, open)?;
                Self::PreparationStarted {
                    at: Timestamp(open.at),
                    preparation_id: Uuid::from_bytes(open.preparation_id),
                    definition: definition(&open.definition)?,
                    fields: open.fields,
                }
            }
            (PREPARATION_VOIDED, 1) => {
                let open: PreparationVoidedV1 = from_bytes(id, open)?;
                Self::PreparationVoided {
                    at: Timestamp(open.at),
                    preparation_id: Uuid::from_bytes(open.preparation_id),
                    field: open.field,
                }
            }
            (PREPARATION_ENDED, 1) => {
                let open: PreparationEndedV1 = from_bytes(id, open)?;
                Self::PreparationEnded {
                    at: Timestamp(open.at),
                    preparation_id: Uuid::from_bytes(open.preparation_id),
                    ready: open.ready,
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
        let preparation_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let definition = sample_definition();
        vec![
            Self::Replaced {
                at,
                version: 3,
                definition: definition.clone(),
                preparation_id: Some(preparation_id),
            },
            Self::PreparationStarted {
                at,
                preparation_id,
                definition,
                fields: vec!["email".into()],
            },
            Self::PreparationVoided {
                at,
                preparation_id,
                field: "email".into(),
            },
            Self::PreparationEnded {
                at,
                preparation_id,
                ready: true,
            },
        ]
    }
}

/// A definition with every kind of member in use.
pub(crate) fn sample_definition() -> Definition {
    use super::{ConnectorBinding, MatchMessages, MatchRule, Messages};
    use crate::channel::Fact;
    use crate::value::number::Decimal;

    let messages = Messages {
        matched: Some("Hello {display_name}".into()),
        ..Messages::default()
    };
    let mut definition = Definition {
        connector_bindings: vec![ConnectorBinding {
            channel: "whatsapp".into(),
            profile_field: "phone".into(),
            source: Some(Fact::Phone),
            required: true,
            label: Some("WhatsApp".into()),
        }],
        match_rules: vec![MatchRule {
            channel: "*".into(),
            field: "email".into(),
            source: Some(Fact::Email),
            fallback: true,
        }],
        match_messages: MatchMessages {
            default: messages.clone(),
            channels: [("sms".to_owned(), messages)].into(),
        },
        auto_match: false,
        ..Definition::default()
    };
    for field in &mut definition.fields {
        field.unique |= field.name == "email";
        field.default_region = (field.name == "phone").then(|| "DE".into());
    }
    definition.fields.extend([
        Field {
            min_value: Decimal::parse("0"),
            max_value: Decimal::parse("12345678901234567890.5"),
            ..Field::new("points", FieldType::Number)
        },
        Field {
            label: Some("Plan".into()),
            allowed_values: vec!["Gold".into(), "Silver".into()],
            ..Field::new("plan", FieldType::String)
        },
        Field {
            pattern: Some("[A-Z]{2}[0-9]+".into()),
            ..Field::new("code", FieldType::String)
        },
        Field::new("vip", FieldType::Boolean),
    ]);
    definition
}
