//! Who is behind an identity, and what that person may use now: the question of every webhook.
//!
//! The rules are the domain's ([`roster_domain::access`]); here is what they are asked of. [`stored`] asks the read tables.

mod answer;
mod stored;
mod wanted;

use std::sync::Arc;

use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts, GrantSource, Reason, Sighting, Trust, Via};
use roster_domain::channel::Fact;
use roster_domain::schema::Schema;
use roster_store::Cell;
use uuid::Uuid;

use crate::{Projections, QueryError};

/// Who was seen, where, and by which rules they are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The project.
    pub project_no: i32,
    /// Its schema in effect.
    pub schema: &'a Arc<Schema>,
    /// As whom.
    pub identity: &'a ConnectorIdentity,
    /// What else the channel tells.
    pub facts: &'a Facts,
    /// When: a grant that ends then is over.
    pub now: Timestamp,
}

/// The customer behind an identity.
#[derive(Clone)]
pub struct Person {
    /// The customer's stream.
    pub stream: Uuid,
    /// Whether the customer may use anything.
    pub enabled: bool,
    names: Names,
}

/// What a customer is called. One allocation, shared with whoever keeps it.
#[derive(Clone)]
struct Names {
    /// The id, then the display name.
    text: Arc<str>,
    /// Where the id ends.
    id: u32,
}

impl Person {
    /// The customer's id.
    pub fn customer_user_id(&self) -> &str {
        &self.names.text[..self.names.id as usize]
    }

    /// What people call the customer.
    pub fn display_name(&self) -> &str {
        &self.names.text[self.names.id as usize..]
    }
}

impl std::fmt::Debug for Person {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Person")
            .field("stream", &self.stream)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRule {
    /// The channel that it is listed for, or `*`.
    pub channel: String,
    /// The field that was looked up.
    pub field: String,
    /// The fact that it was looked up by.
    pub source: Fact,
}

/// Who it is, and what they may use.
#[derive(Clone, Debug)]
pub struct Found {
    /// The customer, if one was found.
    pub customer: Option<Person>,
    /// Whether the identity is to be linked to the customer now.
    pub links: bool,
    /// Why the person may or may not.
    pub reason: Reason,
    /// How the customer was found.
    pub via: Via,
    /// How far the channel vouches for it.
    pub trust: Trust,
    /// The rule that decided, if one did.
    pub rule: Option<FoundRule>,
    /// Whether any agent may be used.
    pub allowed: bool,
    /// The agents that may be used, `*` is every one; none where nothing may.
    pub agents: Arc<[String]>,
    /// The grant that decided; `None` where none exists.
    pub grant_source: Option<GrantSource>,
    /// The position of the log that the answer is of.
    pub position: i64,
}

/// Finds the customers behind identities.
#[derive(Clone)]
pub struct IdentityCache(Arc<Inner>);

struct Inner {
    cell: Cell,
    projections: Projections,
}

impl std::fmt::Debug for IdentityCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IdentityCache")
            .finish_non_exhaustive()
    }
}

impl IdentityCache {
    /// The look-up of a cell.
    pub fn start(cell: Cell, projections: Projections) -> Self {
        Self(Arc::new(Inner { cell, projections }))
    }

    /// The schema of a project, where it is in memory and this node's feed is fresh.
    pub fn schema(&self, _project_no: i32) -> Option<Arc<Schema>> {
        None
    }

    /// Finds the customer behind a sighting and what they may use.
    ///
    /// # Errors
    /// [`QueryError::Behind`] where a rule looks up a field that is not unique and the search index does not follow.
    pub async fn find(&self, asked: Asked<'_>) -> Result<Found, QueryError> {
        self.find_stored(asked).await
    }

    /// The same from the read tables, whatever is in memory.
    pub async fn find_stored(&self, asked: Asked<'_>) -> Result<Found, QueryError> {
        stored::find(&self.0.cell, &self.0.projections, asked).await
    }
}

impl<'a> Asked<'a> {
    const fn sighting(&self) -> Sighting<'a> {
        Sighting {
            identity: self.identity,
            facts: self.facts,
        }
    }
}
