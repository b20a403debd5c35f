//! The folded state of a customer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CustomerEvent, DataSource, SourceKind, held};
use crate::access::{Access, ConnectorIdentity, Grant, Link};
use crate::stream::{Claim, Held, Stream, kind};
use crate::value::Profile;
use crate::{Personal, Timestamp};

/// Whether the person is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not registered yet.
    #[default]
    Absent,
    /// Registered.
    Active,
    /// Erased for ever.
    Erased,
}

/// One customer as its events made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Whether the person is there.
    pub status: Status,
    /// The id; known while active.
    pub customer_user_id: Personal<String>,
    /// The values; known while active.
    pub profile: Personal<Profile>,
    /// Whether the customer may use anything.
    pub enabled: bool,
    /// Channels with an explicit switch; an absent channel is on.
    pub connector_enabled: BTreeMap<String, bool>,
    /// Where the row came from.
    pub source: DataSource,
    /// Whether a sync found the row and took it over, rather than made it: such a row is never deleted by a sync.
    pub is_adopted: bool,
    /// Whether it was the row's source that switched the customer off, rather than a person.
    pub is_disabled_at_source: bool,
    /// The unique fields whose value this customer holds.
    pub claimed: Vec<String>,
    /// The record version: moves only with profile, switches or data source.
    pub version: i32,
    /// When the customer was registered.
    pub created_at: Timestamp,
    /// When the record last moved.
    pub updated_at: Timestamp,
    /// Links and grants.
    pub access: Access,
}

impl Default for Customer {
    fn default() -> Self {
        Self {
            status: Status::Absent,
            customer_user_id: Personal::Erased,
            profile: Personal::Erased,
            enabled: false,
            connector_enabled: BTreeMap::new(),
            source: DataSource::manual(),
            is_adopted: false,
            is_disabled_at_source: false,
            claimed: Vec::new(),
            version: 0,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            access: Access::default(),
        }
    }
}

impl Customer {
    /// Whether the person is there.
    pub const fn is_active(&self) -> bool {
        matches!(self.status, Status::Active)
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::Registered {
                at,
                customer_user_id,
                profile,
                enabled,
                connector_enabled,
                source,
                claimed,
            } => {
                *self = Self {
                    status: Status::Active,
                    customer_user_id,
                    profile,
                    enabled,
                    connector_enabled,
                    is_adopted: false,
                    is_disabled_at_source: !enabled && source.kind == SourceKind::DirectorySync,
                    source,
                    claimed,
                    version: 1,
                    created_at: at,
                    updated_at: at,
                    access: Access::default(),
                };
            }
            CustomerEvent::Updated {
                at,
                fields: _,
                change,
                enabled,
                connector_enabled,
                source,
                claimed,
            } => {
                match (&mut self.profile, change) {
                    (Personal::Known(profile), Personal::Known(change)) => {
                        for name in &change.cleared {
                            profile.remove(name);
                        }
                        profile.extend(change.set);
                    }
                    (profile, _) => *profile = Personal::Erased,
                }
                if let Some(enabled) = enabled {
                    self.enabled = enabled;
                    // Only a sync writes such a tag, and it does so with every change that it makes.
                    let is_sync = |source: &DataSource| source.kind == SourceKind::DirectorySync;
                    self.is_disabled_at_source = !enabled && source.as_ref().is_some_and(is_sync);
                }
                self.connector_enabled.extend(connector_enabled);
                if let Some(source) = source {
                    let is_same = source.kind == self.source.kind
                        && source.connection_id == self.source.connection_id;
                    self.is_adopted = self.is_adopted || !is_same;
                    self.source = source;
                }
                self.claimed = claimed;
                self.version += 1;
                self.updated_at = at;
            }
            CustomerEvent::FieldsClaimed { at: _, claimed } => self.claimed = claimed,
            CustomerEvent::IdentityLinked {
                at,
                channel,
                external_user_id,
                linked_by,
            } => {
                if let Some(identity) = identity(channel, external_user_id) {
                    self.access.bind(Link {
                        identity,
                        linked_by,
                        linked_at: at,
                    });
                }
            }
            CustomerEvent::IdentityUnlinked {
                at: _,
                channel,
                external_user_id,
                blocks,
            } => {
                if let Some(identity) = identity(channel, external_user_id) {
                    self.access.unbind(identity, blocks);
                }
            }
            CustomerEvent::GrantSet {
                at,
                channel,
                external_user_id,
                terms,
            } => {
                if let Some(identity) = identity(channel, external_user_id) {
                    self.access.set(Grant {
                        identity,
                        terms,
                        granted_at: at,
                    });
                }
            }
            CustomerEvent::GrantRevoked {
                at: _,
                channel,
                external_user_id,
            } => {
                if let Some(identity) = identity(channel, external_user_id) {
                    self.access.revoke(&identity);
                }
            }
            CustomerEvent::Erased { at } => {
                *self = Self {
                    status: Status::Erased,
                    version: self.version,
                    created_at: self.created_at,
                    updated_at: at,
                    ..Self::default()
                };
            }
        }
    }

    /// What lists and messages call the customer.
    pub fn display_name(&self) -> String {
        match (self.profile.known(), self.customer_user_id.known()) {
            (Some(profile), Some(id)) => display_name(profile, id),
            _ => String::new(),
        }
    }
}

/// The identity of an event, unless it was erased: the customer's own erasure follows then.
fn identity(channel: String, external_user_id: Personal<String>) -> Option<ConnectorIdentity> {
    Some(ConnectorIdentity {
        channel,
        external_user_id: external_user_id.into_known()?,
    })
}

/// Profile `full_name`, `name`, first and last name, e-mail, else the id.
pub fn display_name(profile: &Profile, customer_user_id: &str) -> String {
    let text = |name: &str| {
        profile
            .get(name)
            .map(crate::value::Value::as_text)
            .filter(|text| !text.is_empty())
    };
    if let Some(name) = text("full_name").or_else(|| text("name")) {
        return name.into();
    }
    match (text("first_name"), text("last_name")) {
        (Some(first), Some(last)) => format!("{first} {last}"),
        (Some(one), None) | (None, Some(one)) => one.into(),
        (None, None) => text("email").unwrap_or(customer_user_id).into(),
    }
}

impl Stream for Customer {
    const KIND: i16 = kind::CUSTOMER;
    const STATE_VERSION: i32 = 3;

    fn claims(&self) -> Vec<Claim> {
        let (true, Some(id), Some(profile)) = (
            self.is_active(),
            self.customer_user_id.known(),
            self.profile.known(),
        ) else {
            return Vec::new();
        };
        let unique = self.claimed.iter().filter_map(|field| {
            profile
                .get(field)
                .map(|value| Claim::unique_value(field, value.as_text()))
        });
        let linked = self.access.links.iter().map(|link| link.identity.claim());
        std::iter::once(Claim::customer_id(id))
            .chain(unique)
            .chain(linked)
            .collect()
    }

    fn is_closed(&self) -> bool {
        self.status == Status::Erased
    }

    fn held(snapshot: &[u8]) -> Option<Held> {
        held::held(snapshot)
    }
}
