//! Links, grants, switches and rule values of the customers of a cell, so that a look-up does no input or output.
//!
//! Texts are not kept but as keyed hashes ([`keys`]), apart from what a customer is called. A look-up finds the customer's
//! place in an index, and then reads the customer under one lock, where what the index said is checked again: a customer who
//! changed in between is looked for anew. One task writes ([`writer`]); it shuts the gate of a project for what must be seen
//! whole, and look-ups that meet a shut gate go to the read tables.

mod draft;
mod index;
mod keys;
mod names;
mod project;
mod slots;
mod terms;
mod writer;

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use roster_domain::access::{
    ConnectorIdentity, GrantSource, Grants, Hits, Holder, Lookup, Outcome, Via, access, find,
};
use roster_domain::schema::Schema;

use super::answer::no_agents;
use super::{Asked, Found, Person, Weight};
use index::Index;
use keys::{Hashes, Key};
pub(super) use names::Names;
use project::{Project, Projects};
use slots::{Granted, Kind, Node, Place, Shard, Slot};
pub(super) use writer::{CustomerRow, IdentityRow, Refill, Unread, Writer};

/// Parts of the customers, each locked by itself; see [`index`] for the number.
const SHARDS: u64 = 48;
/// How often a look-up begins anew because its customer changed.
const ATTEMPTS: usize = 4;

/// The customers of a cell.
pub(super) struct Memory {
    hashes: Hashes,
    projects: Projects,
    identities: Index,
    values: Index,
    shards: Vec<RwLock<Shard>>,
}

/// What one attempt came to.
enum Attempt {
    Found(Found),
    /// The customer changed meanwhile.
    Moved,
    /// The memory does not have what decides.
    Unknown,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            hashes: Hashes::new(),
            projects: Projects::new(),
            identities: Index::new(),
            values: Index::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    /// The schema of a project.
    pub(super) fn schema(&self, project_no: i32) -> Option<Arc<Schema>> {
        Some(Arc::clone(&self.projects.get(project_no)?.schema))
    }

    /// Who it is, unless the memory cannot tell. `position` is one that was applied before.
    pub(super) fn look(&self, asked: &Asked<'_>, position: i64) -> Option<Found> {
        for _ in 0..ATTEMPTS {
            let project = self.projects.get(asked.project_no)?;
            let gate = project.gate.load(Ordering::SeqCst);
            if gate % 2 == 1 || !project.answers(asked.schema) {
                return None;
            }
            let attempt = self.attempt(asked, &project, position);
            let is_whole = project.gate.load(Ordering::SeqCst) == gate
                && self.projects.is(asked.project_no, &project);
            match attempt {
                Attempt::Found(found) if is_whole => return Some(found),
                Attempt::Unknown => return None,
                Attempt::Found(_) | Attempt::Moved => {}
            }
        }
        None
    }

    fn attempt(&self, asked: &Asked<'_>, project: &Project, position: i64) -> Attempt {
        let identity = asked.identity;
        let key = self.hashes.identity(
            asked.project_no,
            &identity.channel,
            &identity.external_user_id,
        );
        let view = View {
            memory: self,
            project,
            project_no: asked.project_no,
            identity: key,
            value: Cell::new(None),
            is_unknown: Cell::new(false),
        };
        let outcome = find(asked.schema, &view, asked.sighting());
        if view.is_unknown.get() {
            return Attempt::Unknown;
        }
        let Some(matched) = outcome.found else {
            return Attempt::Found(Found::nobody(&outcome, position));
        };
        let place = matched.customer;
        let shard = self.read(place.shard());
        let Some(slot) = shard.slot(place.slot()) else {
            return Attempt::Moved;
        };
        let has = |kind, key: Key| {
            let mut nodes = shard.nodes(slot);
            nodes.any(|node| node.kind == kind && node.low == key.low())
        };
        let holds = match (outcome.via, view.value.get()) {
            (Via::Link, _) => has(Kind::Linked, key),
            (Via::Rule, Some(value)) => has(Kind::Value, value) && !has(Kind::Blocked, key),
            _ => false,
        };
        if !holds || slot.project_no() != asked.project_no {
            return Attempt::Moved;
        }
        if !slot.names.are_read() {
            return Attempt::Unknown;
        }
        decide(asked, &outcome, project, &shard, slot, key, position)
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        let shard = self.shards[shard].read();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_of(&self, stream: uuid::Uuid) -> usize {
        // Tables of streams place by the lowest and the highest bits.
        let middle = (self.hashes.stream(stream) >> 20) & 0xffff;
        ((middle * SHARDS) >> 16) as usize
    }

    /// Projects that are left to the read tables.
    pub(super) fn left_out(&self) -> usize {
        self.projects.count_out()
    }

    /// Bytes of everything but the list of projects.
    pub(super) fn weight(&self) -> Weight {
        let mut weight = Weight {
            texts: 0,
            structures: self.identities.bytes() + self.values.bytes(),
        };
        for number in 0..self.shards.len() {
            let shard = self.read(number);
            weight.texts += shard.texts();
            weight.structures += shard.bytes();
        }
        weight
    }
}

/// What a customer who was found may use. Everything is of the moment in which the shard is locked.
fn decide(
    asked: &Asked<'_>,
    outcome: &Outcome<'_, Place>,
    project: &Project,
    shard: &Shard,
    slot: &Slot,
    key: Key,
    position: i64,
) -> Attempt {
    let channel = project.channel(&asked.identity.channel);
    let number = channel.map(|(number, _)| number);
    let is_here = |node: &&Node| node.kind == Kind::Linked && Some(node.name) == number;
    let on_channel = || shard.nodes(slot).filter(is_here);
    let specific = on_channel().find(|node| node.low == key.low());
    let specific = specific.and_then(|node| node.grant.as_ref());
    let bound = || {
        let others = on_channel().filter(|node| node.low != key.low());
        others.filter_map(|node| node.grant.as_ref())
    };
    let wildcard = channel.and_then(|(_, channel)| channel.wildcard.as_ref());
    let wildcard = wildcard.map(|(_, granted)| granted);
    let decision = access(
        Some(Holder {
            enabled: slot.is_enabled(),
            connector_enabled: slot.is_on(number),
        }),
        Grants {
            specific: specific.map(|granted| &granted.terms),
            bound: bound().map(|granted| &granted.terms),
            wildcard: wildcard.map(|granted| &granted.terms),
        },
        asked.now,
    );
    let granted: Option<&Arc<Granted>> = match decision.source.filter(|_| decision.allowed) {
        Some(GrantSource::Specific) => specific,
        Some(GrantSource::Wildcard) => wildcard,
        Some(GrantSource::Bound) => {
            let is_over =
                |granted: &Granted| granted.terms.expires_at.is_some_and(|at| at <= asked.now);
            let mut decides = bound().filter(|granted| !is_over(granted));
            let first = decides.next();
            // Which of several comes first depends on the bound key and the identities, which are not kept.
            if decides
                .any(|other| first.is_none_or(|first| other.terms.agents != first.terms.agents))
            {
                return Attempt::Unknown;
            }
            first
        }
        None => None,
    };
    let agents = granted.map_or_else(no_agents, |granted| Arc::clone(&granted.agents));
    let person = Person {
        stream: slot.stream,
        enabled: slot.is_enabled(),
        names: slot.names.clone(),
    };
    Attempt::Found(Found::somebody(
        outcome, person, &decision, agents, position,
    ))
}

/// The memory as matching asks it.
struct View<'a> {
    memory: &'a Memory,
    project: &'a Project,
    project_no: i32,
    identity: Key,
    /// The value that was looked up last.
    value: Cell<Option<Key>>,
    is_unknown: Cell<bool>,
}

impl Lookup for View<'_> {
    type Customer = Place;

    fn linked(&self, _: &ConnectorIdentity) -> Option<Place> {
        match self.memory.identities.get(self.identity) {
            Hits::None => None,
            Hits::One(place) => Some(place),
            Hits::Several => {
                self.is_unknown.set(true);
                None
            }
        }
    }

    fn holders(&self, field: &str, value: &str) -> Hits<Place> {
        if self.project.field(field).is_none() {
            self.is_unknown.set(true);
            return Hits::None;
        }
        let key = self.memory.hashes.value(self.project_no, field, value);
        self.value.set(Some(key));
        self.memory.values.get(key)
    }

    fn is_blocked(&self, _: &ConnectorIdentity, customer: Place) -> bool {
        let shard = self.memory.read(customer.shard());
        let slot = shard.slot(customer.slot());
        slot.is_some_and(|slot| {
            let mut nodes = shard.nodes(slot);
            nodes.any(|node| node.kind == Kind::Blocked && node.low == self.identity.low())
        })
    }
}
