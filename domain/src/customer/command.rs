//! What can be asked of a customer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DataSource;
use crate::Timestamp;
use crate::access::{ConnectorIdentity, LinkedBy, Terms};
use crate::schema::Schema;
use crate::value::{SmolStr, Value};

/// A command on one customer.
#[derive(Clone, Debug)]
pub enum CustomerCommand {
    /// Create the customer or change the record.
    Upsert(Upsert),
    /// Bring values and claims in line with a schema that is about to take effect.
    ApplySchema(ApplySchema),
    /// Switch one channel.
    SetConnectorEnabled {
        /// When.
        at: Timestamp,
        /// The canonical name of the channel.
        channel: String,
        /// Whether it is on.
        enabled: bool,
    },
    /// Bind an identity.
    LinkIdentity {
        /// When.
        at: Timestamp,
        /// Which.
        identity: ConnectorIdentity,
        /// Who binds it.
        linked_by: LinkedBy,
    },
    /// Unbind an identity, take its grant and keep rules from binding it again.
    UnlinkIdentity(UnlinkIdentity),
    /// Bind an identity through the profile and set its grant.
    AttachGrant(AttachGrant),
    /// Take every grant on a channel.
    RevokeGrants {
        /// When.
        at: Timestamp,
        /// The canonical name of the channel.
        channel: String,
    },
    /// Switch the customer off because the source no longer has the record.
    DisableAtSource {
        /// When.
        at: Timestamp,
        /// The connection whose row it must be.
        connection_id: String,
    },
    /// Erase the person for ever.
    Erase {
        /// When.
        at: Timestamp,
    },
}

/// Create or change. Values are canonical already: `Schema::read_profile` made them.
#[derive(Clone)]
pub struct Upsert {
    /// The active schema, and the pending one while a preparation runs.
    pub schema: Arc<Schema>,
    /// Fields that a pending schema will make unique: their claims are taken too.
    pub pending_unique: Arc<[String]>,
    /// When.
    pub at: Timestamp,
    /// The canonical id.
    pub customer_user_id: String,
    /// By field: a new value, or `None` to clear it. Fields not named stay, unless `replace`.
    pub changes: BTreeMap<SmolStr, Option<Value>>,
    /// Whether fields not named are cleared.
    pub replace: bool,
    /// The new switch.
    pub enabled: Option<bool>,
    /// New channel switches.
    pub connector_enabled: BTreeMap<String, bool>,
    /// What happens to the data source tag.
    pub tagging: Tagging,
    /// The record version that the caller saw; 0 means "must not exist".
    pub expected_version: Option<i32>,
    /// Whether an existing customer stays as it is.
    pub skip_existing: bool,
}

impl std::fmt::Debug for Upsert {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upsert")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// What an upsert does to the data source tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// Existing rows keep theirs, new rows are manual.
    Keep,
    /// The row is tagged with this.
    Set(DataSource),
    /// New and manual rows are tagged with this, others keep theirs.
    Adopt(DataSource),
    /// A run of a connection: new, manual and imported rows get this tag, and its own rows a newer one with every change.
    Sync {
        /// The tag.
        source: DataSource,
        /// Whether the row's connection is gone, so that this one may have it.
        takes_over: bool,
    },
}

/// Bring a customer in line with a schema.
#[derive(Clone)]
pub struct ApplySchema {
    /// The schema that is about to take effect.
    pub schema: Arc<Schema>,
    /// When.
    pub at: Timestamp,
}

impl std::fmt::Debug for ApplySchema {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ApplySchema")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Unbind an identity.
#[derive(Clone)]
pub struct UnlinkIdentity {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub identity: ConnectorIdentity,
    /// The upsert that clears the bound profile field, where that is wanted. It names nothing else.
    pub clear: Option<Upsert>,
}

impl std::fmt::Debug for UnlinkIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UnlinkIdentity")
            .field("at", &self.at)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Bind an identity and grant agents to it.
#[derive(Clone, Debug)]
pub struct AttachGrant {
    /// Which identity.
    pub identity: ConnectorIdentity,
    /// Which agents, and whether.
    pub terms: Terms,
    /// The upsert that writes the identity into the bound profile field. It names nothing else.
    pub upsert: Upsert,
}

impl CustomerCommand {
    /// The same command without the claims of a schema that is being prepared.
    #[must_use]
    pub fn without_pending(mut self) -> Self {
        let upsert = match &mut self {
            Self::Upsert(upsert) => Some(upsert),
            Self::AttachGrant(attach) => Some(&mut attach.upsert),
            _ => None,
        };
        if let Some(upsert) = upsert {
            upsert.pending_unique = [].into();
        }
        self
    }
}
