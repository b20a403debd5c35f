//! What can happen to a customer, and the frozen shapes in the log.

use std::collections::BTreeMap;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::access_shapes;
use super::source::{DataSource, OpenSourceV1};
use crate::access::{LinkedBy, Terms};
use crate::event::{DecodeError, Encoded, EventType, StoredEvent, from_bytes, to_bytes};
use crate::value::{Profile, SmolStr, Value};
use crate::{Personal, Timestamp};

/// A change of one customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerEvent {
    /// The customer exists from here on.
    Registered {
        /// When.
        at: Timestamp,
        /// The id, which never changes.
        customer_user_id: Personal<String>,
        /// All values.
        profile: Personal<Profile>,
        /// Whether the customer may use anything.
        enabled: bool,
        /// Channels that are switched off or explicitly on.
        connector_enabled: BTreeMap<String, bool>,
        /// Where the row came from.
        source: DataSource,
        /// The unique fields whose value this customer holds.
        claimed: Vec<SmolStr>,
    },
    /// Something of the record changed.
    Updated {
        /// When.
        at: Timestamp,
        /// Names of the profile fields that changed, in byte order.
        fields: Vec<SmolStr>,
        /// The new values.
        change: Personal<ProfileChange>,
        /// The new switch, if it changed.
        enabled: Option<bool>,
        /// The channels whose switch changed.
        connector_enabled: BTreeMap<String, bool>,
        /// The new data source, if it changed.
        source: Option<DataSource>,
        /// The unique fields whose value this customer holds from here on.
        claimed: Vec<SmolStr>,
    },
    /// A schema change made more or fewer fields unique; no value changed.
    FieldsClaimed {
        /// When.
        at: Timestamp,
        /// The unique fields whose value this customer holds from here on.
        claimed: Vec<SmolStr>,
    },
    /// A connector identity is bound to the customer from here on.
    IdentityLinked {
        /// When.
        at: Timestamp,
        /// The channel.
        channel: String,
        /// The normalised external user id.
        external_user_id: Personal<String>,
        /// Who bound it.
        linked_by: LinkedBy,
    },
    /// The identity is no longer bound, and its grant is gone.
    IdentityUnlinked {
        /// When.
        at: Timestamp,
        /// The channel.
        channel: String,
        /// The normalised external user id.
        external_user_id: Personal<String>,
        /// Whether rules leave the two apart from here on.
        blocks: bool,
    },
    /// What the bearer of a bound identity may use was set.
    GrantSet {
        /// When.
        at: Timestamp,
        /// The channel.
        channel: String,
        /// The normalised external user id.
        external_user_id: Personal<String>,
        /// Which agents, and whether.
        terms: Terms,
    },
    /// The grant of an identity was taken; the identity stays bound.
    GrantRevoked {
        /// When.
        at: Timestamp,
        /// The channel.
        channel: String,
        /// The normalised external user id.
        external_user_id: Personal<String>,
    },
    /// The person was erased: claims are released and the key is destroyed.
    Erased {
        /// When.
        at: Timestamp,
    },
}

/// The values that one update set and cleared.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProfileChange {
    /// New values by field.
    pub set: Profile,
    /// Fields without a value from here on.
    pub cleared: Vec<SmolStr>,
}

/// `customer.registered` version 1.
const REGISTERED: i16 = 1;
/// `customer.updated` version 1.
const UPDATED: i16 = 2;
/// `customer.fields_claimed` version 1.
const FIELDS_CLAIMED: i16 = 3;
/// `customer.erased` version 1.
const ERASED: i16 = 4;

#[derive(Serialize, Deserialize)]
struct RegisteredV1 {
    at: i64,
    enabled: bool,
    connector_enabled: Vec<(String, bool)>,
    source: OpenSourceV1,
    claimed: Vec<SmolStr>,
}

#[derive(Serialize, Deserialize)]
struct RegisteredPersonalV1<'a> {
    customer_user_id: &'a str,
    external_id: Option<&'a str>,
    #[serde(borrow)]
    profile: Vec<(&'a str, ValueV1<'a>)>,
}

#[derive(Serialize, Deserialize)]
struct UpdatedV1 {
    at: i64,
    fields: Vec<SmolStr>,
    enabled: Option<bool>,
    connector_enabled: Vec<(String, bool)>,
    source: Option<OpenSourceV1>,
    claimed: Vec<SmolStr>,
}

#[derive(Serialize, Deserialize)]
struct UpdatedPersonalV1<'a> {
    #[serde(borrow)]
    set: Vec<(&'a str, ValueV1<'a>)>,
    cleared: Vec<&'a str>,
    external_id: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct FieldsClaimedV1 {
    at: i64,
    claimed: Vec<SmolStr>,
}

#[derive(Serialize, Deserialize)]
struct ErasedV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
enum ValueV1<'a> {
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
}

impl<'a> From<&'a Value> for ValueV1<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Number(text) => Self::Number(text),
            Value::Bool(flag) => Self::Bool(*flag),
        }
    }
}

impl From<ValueV1<'_>> for Value {
    fn from(value: ValueV1) -> Self {
        match value {
            ValueV1::Text(text) => Self::Text(text.into()),
            ValueV1::Number(text) => Self::Number(text.into()),
            ValueV1::Bool(flag) => Self::Bool(flag),
        }
    }
}

fn store_profile(profile: &Profile) -> Vec<(&str, ValueV1<'_>)> {
    profile
        .iter()
        .map(|(name, value)| (name.as_str(), value.into()))
        .collect()
}

fn load_profile(stored: Vec<(&str, ValueV1)>) -> Profile {
    stored
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

impl DomainEvent for CustomerEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Registered { .. } => "customer.registered",
            Self::Updated { .. } => "customer.updated",
            Self::FieldsClaimed { .. } => "customer.fields_claimed",
            Self::IdentityLinked { .. } => "customer.identity_linked",
            Self::IdentityUnlinked { .. } => "customer.identity_unlinked",
            Self::GrantSet { .. } => "customer.grant_set",
            Self::GrantRevoked { .. } => "customer.grant_revoked",
            Self::Erased { .. } => "customer.erased",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl StoredEvent for CustomerEvent {
    const TYPES: &'static [EventType] = &[
        EventType {
            type_no: REGISTERED,
            type_version: 1,
            name: "customer.registered",
        },
        EventType {
            type_no: UPDATED,
            type_version: 1,
            name: "customer.updated",
        },
        EventType {
            type_no: FIELDS_CLAIMED,
            type_version: 1,
            name: "customer.fields_claimed",
        },
        EventType {
            type_no: ERASED,
            type_version: 1,
            name: "customer.erased",
        },
        EventType {
            type_no: access_shapes::IDENTITY_LINKED,
            type_version: 1,
            name: "customer.identity_linked",
        },
        EventType {
            type_no: access_shapes::IDENTITY_UNLINKED,
            type_version: 1,
            name: "customer.identity_unlinked",
        },
        EventType {
            type_no: access_shapes::GRANT_SET,
            type_version: 1,
            name: "customer.grant_set",
        },
        EventType {
            type_no: access_shapes::GRANT_REVOKED,
            type_version: 1,
            name: "customer.grant_revoked",
        },
    ];

    fn encode(&self) -> Encoded {
        let (type_no, open, personal) = match self {
            Self::Registered {
                at,
                customer_user_id,
                profile,
                enabled,
                connector_enabled,
                source,
                claimed,
            } => (
                REGISTERED,
                to_bytes(&RegisteredV1 {
                    at: at.0,
                    enabled: *enabled,
                    connector_enabled: connector_enabled.clone().into_iter().collect(),
                    source: source.open(),
                    claimed: claimed.clone(),
                }),
                profile
                    .known()
                    .zip(customer_user_id.known())
                    .map(|(profile, customer_user_id)| {
                        to_bytes(&RegisteredPersonalV1 {
                            customer_user_id,
                            external_id: source.external_id(),
                            profile: store_profile(profile),
                        })
                    }),
            ),
            Self::Updated {
                at,
                fields,
                change,
                enabled,
                connector_enabled,
                source,
                claimed,
            } => (
                UPDATED,
                to_bytes(&UpdatedV1 {
                    at: at.0,
                    fields: fields.clone(),
                    enabled: *enabled,
                    connector_enabled: connector_enabled.clone().into_iter().collect(),
                    source: source.as_ref().map(DataSource::open),
                    claimed: claimed.clone(),
                }),
                change.known().map(|change| {
                    to_bytes(&UpdatedPersonalV1 {
                        set: store_profile(&change.set),
                        cleared: change.cleared.iter().map(SmolStr::as_str).collect(),
                        external_id: source.as_ref().and_then(DataSource::external_id),
                    })
                }),
            ),
            Self::FieldsClaimed { at, claimed } => (
                FIELDS_CLAIMED,
                to_bytes(&FieldsClaimedV1 {
                    at: at.0,
                    claimed: claimed.clone(),
                }),
                None,
            ),
            Self::Erased { at } => (ERASED, to_bytes(&ErasedV1 { at: at.0 }), None),
            Self::IdentityLinked { .. }
            | Self::IdentityUnlinked { .. }
            | Self::GrantSet { .. }
            | Self::GrantRevoked { .. } => return access_shapes::encode(self),
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
            (REGISTERED, 1) => {
                let open: RegisteredV1 = from_bytes(id, open)?;
                let personal: Option<RegisteredPersonalV1<'_>> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                let (customer_user_id, external_id, profile) = match personal {
                    Some(part) => (
                        Personal::Known(part.customer_user_id.to_owned()),
                        Personal::Known(part.external_id.map(str::to_owned)),
                        Personal::Known(load_profile(part.profile)),
                    ),
                    None => (Personal::Erased, Personal::Erased, Personal::Erased),
                };
                Self::Registered {
                    at: Timestamp(open.at),
                    customer_user_id,
                    profile,
                    enabled: open.enabled,
                    connector_enabled: open.connector_enabled.into_iter().collect(),
                    source: DataSource::join(open.source, external_id),
                    claimed: open.claimed,
                }
            }
            (UPDATED, 1) => {
                let open: UpdatedV1 = from_bytes(id, open)?;
                let personal: Option<UpdatedPersonalV1<'_>> =
                    personal.map(|bytes| from_bytes(id, bytes)).transpose()?;
                let (external_id, change) = match personal {
                    Some(part) => (
                        Personal::Known(part.external_id.map(str::to_owned)),
                        Personal::Known(ProfileChange {
                            set: load_profile(part.set),
                            cleared: part.cleared.into_iter().map(SmolStr::new).collect(),
                        }),
                    ),
                    None => (Personal::Erased, Personal::Erased),
                };
                Self::Updated {
                    at: Timestamp(open.at),
                    fields: open.fields,
                    change,
                    enabled: open.enabled,
                    connector_enabled: open.connector_enabled.into_iter().collect(),
                    source: open
                        .source
                        .map(|source| DataSource::join(source, external_id)),
                    claimed: open.claimed,
                }
            }
            (FIELDS_CLAIMED, 1) => {
                let open: FieldsClaimedV1 = from_bytes(id, open)?;
                Self::FieldsClaimed {
                    at: Timestamp(open.at),
                    claimed: open.claimed,
                }
            }
            (ERASED, 1) => {
                let open: ErasedV1 = from_bytes(id, open)?;
                Self::Erased {
                    at: Timestamp(open.at),
                }
            }
            _ => return access_shapes::decode(id, open, personal),
        })
    }

    fn samples() -> Vec<Self> {
        let at = Timestamp(1_767_225_600_000_000);
        let source = DataSource::sample();
        let profile: Profile = [
            ("email".into(), Value::Text("ada@example.org".into())),
            ("points".into(), Value::Number("-12.5".into())),
            ("vip".into(), Value::Bool(true)),
        ]
        .into();
        vec![
            Self::Registered {
                at,
                customer_user_id: Personal::new("ada".into()),
                profile: Personal::new(profile.clone()),
                enabled: true,
                connector_enabled: [("slack".to_owned(), false)].into(),
                source: source.clone(),
                claimed: vec!["email".into()],
            },
            Self::Updated {
                at,
                fields: vec!["email".into(), "name".into()],
                change: Personal::new(ProfileChange {
                    set: profile,
                    cleared: vec!["name".into()],
                }),
                enabled: Some(false),
                connector_enabled: [("sms".to_owned(), true)].into(),
                source: Some(source),
                claimed: vec!["email".into()],
            },
            Self::FieldsClaimed {
                at,
                claimed: vec!["email".into(), "phone".into()],
            },
            Self::Erased { at },
        ]
        .into_iter()
        .chain(access_shapes::samples(at))
        .collect()
    }
}
