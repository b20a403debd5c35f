//! Who is behind an identity, and what that person may use now: the question of every webhook.
//!
//! The rules are the domain's ([`roster_domain::access`]); here is what they are asked of. [`memory`] has everything that they
//! look up, as far as there is room; [`follow`] keeps it in step with the log; [`feed`] says whether it is fresh enough to
//! answer from. Where it is not, [`stored`] asks the read tables.

mod answer;
mod feed;
mod fill;
mod follow;
mod hint;
mod memory;
mod metrics;
mod stored;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::Client;
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts, GrantSource, Reason, Sighting, Trust, Via};
use roster_domain::channel::Fact;
use roster_domain::schema::Schema;
use roster_store::Cell;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{Projections, QueryError};
use feed::{Feed, Moment};
use follow::Follower;
use memory::{Memory, Names, Writer};
use metrics::Counts;

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

impl Person {
    /// The customer's id.
    pub fn customer_user_id(&self) -> &str {
        self.names.customer_user_id()
    }

    /// What people call the customer.
    pub fn display_name(&self) -> &str {
        self.names.display_name()
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
    /// The agents that may be used; `None` where nothing may.
    agents: Option<Arc<[String]>>,
    /// The grant that decided; `None` where none exists.
    pub grant_source: Option<GrantSource>,
    /// The position of the log that the answer is of.
    pub position: i64,
}

impl Found {
    /// The agents that may be used, `*` is every one; none where nothing may.
    pub fn agents(&self) -> &[String] {
        self.agents.as_deref().unwrap_or_default()
    }
}

/// Finds the customers behind identities.
#[derive(Clone)]
pub struct IdentityCache(Arc<Inner>);

struct Inner {
    cell: Cell,
    projections: Projections,
    options: IdentityOptions,
    memory: Arc<Memory>,
    feed: Feed,
    counts: Counts,
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weight {
    /// Of names of customers.
    pub texts: usize,
    /// Of everything else.
    pub structures: usize,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct IdentityOptions {
    /// The most customers and identities in memory, together. The largest projects beyond it are looked up in Postgres.
    pub most: usize,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self { most: 20_000_000 }
    }
}

impl std::fmt::Debug for IdentityCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IdentityCache")
            .finish_non_exhaustive()
    }
}

impl IdentityCache {
    /// The look-up of a cell. Hints from other servers come over whichever connection it is given last.
    pub fn start(
        cell: Cell,
        projections: Projections,
        clients: watch::Receiver<Option<Client>>,
        options: IdentityOptions,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let memory = Arc::new(Memory::new());
        let inner = Arc::new(Inner {
            cell: cell.clone(),
            projections,
            options,
            memory: Arc::clone(&memory),
            feed: Feed::new(),
            counts: Counts::default(),
        });
        let hint = Arc::new(Notify::new());
        tracker.spawn(hint::run(cell, clients, Arc::clone(&hint), stop.clone()));
        let writer = Writer::new(memory, options.most);
        let follower = Follower::new(Arc::clone(&inner), writer, hint, tracker.clone(), stop);
        tracker.spawn(follower.run());
        Self(inner)
    }

    /// The schema of a project, where it is in memory and fresh.
    pub fn schema(&self, project_no: i32) -> Option<Arc<Schema>> {
        let inner = &self.0;
        let moment = inner.feed.fresh_now(inner.projections.position())?;
        let schema = inner.memory.schema(project_no);
        schema.filter(|_| inner.feed.is_whole(moment))
    }

    /// Finds the customer behind a sighting and what they may use: in memory while this node's feed is fresh, else in the
    /// read tables. Both show every write that was acknowledged before.
    ///
    /// # Errors
    /// [`QueryError::Behind`] where a rule looks up a field that is not unique and the search index does not follow, or where
    /// the log has more of those whose events allow it than the tables show.
    pub async fn find(&self, asked: Asked<'_>) -> Result<Found, QueryError> {
        let inner = &self.0;
        let shown = || inner.projections.position();
        if let Some(moment) = inner.feed.fresh(shown).await
            && let Some(found) = inner.look(&asked, moment)
        {
            inner.counts.from_memory.fetch_add(1, Ordering::Relaxed);
            return Ok(found);
        }
        inner.counts.from_tables.fetch_add(1, Ordering::Relaxed);
        // On the heap: it is rare, and would make the future of every look-up large.
        Box::pin(self.find_stored(asked)).await
    }

    /// The same from memory alone, without waiting; `None` where it cannot tell.
    pub fn find_kept(&self, asked: Asked<'_>) -> Option<Found> {
        let inner = &self.0;
        let moment = inner.feed.fresh_now(inner.projections.position())?;
        inner.look(&asked, moment)
    }

    /// The same from the read tables, whatever is in memory.
    pub async fn find_stored(&self, asked: Asked<'_>) -> Result<Found, QueryError> {
        stored::find(&self.0.cell, &self.0.projections, asked).await
    }

    /// The last position that memory answers of; -1 while it is empty.
    pub fn position(&self) -> i64 {
        self.0.feed.position()
    }

    /// How often everything in memory was given up and read anew.
    pub fn losses(&self) -> u64 {
        self.0.feed.losses()
    }

    /// What the memory takes.
    pub fn weight(&self) -> Weight {
        self.0.memory.weight()
    }
}

impl Inner {
    /// What the memory says, unless it was emptied meanwhile.
    fn look(&self, asked: &Asked<'_>, moment: Moment) -> Option<Found> {
        let mut found = None;
        let is_known = self.memory.look(asked, moment.position, &mut found);
        if !is_known || !self.feed.is_whole(moment) {
            found = None;
        }
        found
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
