//! Links, grants, switches and rule values of the customers of a cell, so that a look-up does no input or output.
//!
//! Texts are not kept but as keyed hashes ([`keys`]), apart from what a customer is called. A look-up finds the place of the
//! customer's record in an index ([`index`]) and reads the record ([`record`]), both without a lock ([`space`]): what changed
//! in between is looked for anew. One task writes ([`writer`]); it shuts the gate of a project for what must be seen
//! whole, and look-ups that meet a shut gate go to the read tables.

mod draft;
mod index;
mod keys;
mod names;
mod pages;
mod project;
mod record;
mod space;
mod streams;
mod terms;
mod writer;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roster_domain::access::{
    ConnectorIdentity, GrantSource, Grants as Deciding, Hits, Holder as Switched, Lookup, Outcome,
    Via, access, find,
};
use roster_domain::schema::Schema;

use super::{Asked, Found, Person, Weight};
use index::{Holder, Index};
use keys::{Hashes, Key};
pub(super) use names::Names;
use project::{Project, Projects};
use record::{Kind, NO_GRANT, Record, Thing};
use space::{Place, Space};
use terms::{Granted, Grants};
pub(super) use writer::{CustomerRow, Drawer, Drawn, IdentityRow, Refill, Unread, Writer};

/// How often a look-up begins anew because its customer changed.
const ATTEMPTS: usize = 4;

/// The customers of a cell.
pub(super) struct Memory {
    hashes: Hashes,
    projects: Projects,
    identities: Index,
    values: Index,
    space: Space,
    grants: Grants,
    /// Bytes of names in the space.
    texts: AtomicUsize,
    /// Bytes that the one who writes has beside.
    beside: AtomicUsize,
}

/// Why an attempt came to nothing.
#[derive(Clone, Copy)]
enum Trouble {
    /// The customer changed meanwhile.
    Moved,
    /// The memory does not have what decides.
    Unknown,
}

/// What is found is written where it goes: it is large, and would be copied on each step of the way.
type Attempt = Result<(), Trouble>;

/// What is looked for, in a project as it is at a position.
struct Look<'a> {
    asked: &'a Asked<'a>,
    project: &'a Project,
    /// The number of the channel, where anybody has something on it.
    channel: Option<u16>,
    key: Key,
    position: i64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            hashes: Hashes::new(),
            projects: Projects::new(),
            identities: Index::new(),
            values: Index::new(),
            space: Space::new(),
            grants: Grants::default(),
            texts: AtomicUsize::new(0),
            beside: AtomicUsize::new(0),
        }
    }

    /// The schema of a project.
    pub(super) fn schema(&self, project_no: i32) -> Option<Arc<Schema>> {
        Some(Arc::clone(&self.projects.get(project_no)?.schema))
    }

    /// Puts into `found` who it is; `false` where the memory cannot tell. `position` is one that was applied before.
    pub(super) fn look(&self, asked: &Asked<'_>, position: i64, found: &mut Option<Found>) -> bool {
        for _ in 0..ATTEMPTS {
            let held = self.projects.hold(asked.project_no);
            let Some(project) = held.project() else {
                return false;
            };
            let gate = project.gate.load(Ordering::SeqCst);
            if gate % 2 == 1 || !project.answers(asked.schema) {
                return false;
            }
            let identity = asked.identity;
            let channel = project.channel(&identity.channel);
            let id = &identity.external_user_id;
            let key = channel
                .and_then(|channel| project.keys(channel))
                .map_or_else(
                    || {
                        self.hashes
                            .identity(asked.project_no, &identity.channel, id)
                    },
                    |keys| keys.key(id),
                );
            let look = Look {
                asked,
                project,
                channel,
                key,
                position,
            };
            match self.attempt(&look, found) {
                Ok(()) if project.gate.load(Ordering::SeqCst) == gate && held.is_current() => {
                    return true;
                }
                Err(Trouble::Unknown) => return false,
                Ok(()) | Err(Trouble::Moved) => {}
            }
        }
        false
    }

    fn attempt(&self, look: &Look<'_>, found: &mut Option<Found>) -> Attempt {
        let view = View {
            memory: self,
            look,
            value: Cell::new(None),
            trouble: Cell::new(None),
        };
        let outcome = find(look.asked.schema, &view, look.asked.sighting());
        if let Some(trouble) = view.trouble.get() {
            return Err(trouble);
        }
        let Some(matched) = outcome.found else {
            *found = Some(Found::nobody(&outcome, look.position));
            return Ok(());
        };
        let read = self.space.read(matched.customer, |words| {
            let record = Record::of(words);
            // Whom the index led to may have gone by now, and somebody else may be there.
            let holds = match (outcome.via, view.value.get()) {
                (Via::Link, _) => record.has(Kind::Linked, look.key),
                (Via::Rule, Some(value)) => {
                    record.has(Kind::Value, value) && !record.has(Kind::Blocked, look.key)
                }
                _ => false,
            };
            if !holds || record.project_no() != look.asked.project_no {
                Err(Trouble::Moved)
            } else if record.is_read() {
                self.decide(look, &outcome, record, found)
            } else {
                Err(Trouble::Unknown)
            }
        });
        read.unwrap_or(Err(Trouble::Moved))
    }

    /// What a customer who was found may use.
    fn decide(
        &self,
        look: &Look<'_>,
        outcome: &Outcome<'_, Place>,
        record: Record<'_>,
        found: &mut Option<Found>,
    ) -> Attempt {
        let &Look {
            asked,
            project,
            channel,
            key,
            position,
        } = look;
        let is_here = move |thing: &Thing| Some(thing.name) == channel;
        let linked = || {
            let things = record.things();
            things.filter(move |thing| thing.kind == Kind::Linked && is_here(thing))
        };
        let has_grant = record.things().any(|thing| thing.grant != NO_GRANT);
        let grants = has_grant.then(|| self.grants.read());
        let granted = |thing: Thing| grants.as_ref()?.get(thing.grant);
        let specific = linked().find(|thing| thing.key == key).and_then(granted);
        let bound = || {
            let others = linked().filter(|thing| thing.key != key);
            others.filter_map(granted)
        };
        let wildcard = channel.and_then(|channel| project.wildcard(channel));
        let is_off = |thing: Thing| thing.kind == Kind::Off && is_here(&thing);
        let decision = access(
            Some(Switched {
                enabled: record.is_enabled(),
                connector_enabled: !record.things().any(is_off),
            }),
            Deciding {
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
                    return Err(Trouble::Unknown);
                }
                first
            }
            None => None,
        };
        let agents = granted.map(|granted| Arc::clone(&granted.agents));
        let person = Person {
            stream: record.stream(),
            enabled: record.is_enabled(),
            names: record.shown(),
        };
        *found = Some(Found::somebody(
            outcome, person, &decision, agents, position,
        ));
        Ok(())
    }

    /// Whether the customer at a place has something; `None` where that changes.
    fn has(&self, place: Place, kind: Kind, key: Key) -> Option<bool> {
        self.space.read(place, |words| {
            let record = Record::of(words);
            record.fetch();
            record.has(kind, key)
        })
    }

    /// What finds customers by things of a kind.
    const fn index(&self, kind: Kind) -> &Index {
        match kind {
            Kind::Value => &self.values,
            _ => &self.identities,
        }
    }

    /// Projects that are left to the read tables.
    pub(super) fn left_out(&self) -> usize {
        self.projects.count_out()
    }

    /// Bytes of everything but the lists of projects and of terms.
    pub(super) fn weight(&self) -> Weight {
        let texts = self.texts.load(Ordering::Relaxed);
        let beside = self.beside.load(Ordering::Relaxed);
        let indexes = self.identities.bytes() + self.values.bytes();
        Weight {
            texts,
            structures: (self.space.bytes() + indexes + beside).saturating_sub(texts),
        }
    }
}

/// The memory as matching asks it.
struct View<'a> {
    memory: &'a Memory,
    look: &'a Look<'a>,
    /// The value that was looked up last.
    value: Cell<Option<Key>>,
    /// Why what matching comes to counts for nothing.
    trouble: Cell<Option<Trouble>>,
}

impl View<'_> {
    fn holder(&self, kind: Kind, key: Key) -> Hits<Place> {
        let index = self.memory.index(kind);
        match index.get(key, |place| self.memory.has(place, kind, key)) {
            Holder::Nobody => Hits::None,
            Holder::One(place) => Hits::One(place),
            Holder::Several => Hits::Several,
            Holder::Moved => {
                self.trouble.set(Some(Trouble::Moved));
                Hits::None
            }
        }
    }
}

impl Lookup for View<'_> {
    type Customer = Place;

    fn linked(&self, _: &ConnectorIdentity) -> Option<Place> {
        match self.holder(Kind::Linked, self.look.key) {
            Hits::None => None,
            Hits::One(place) => Some(place),
            Hits::Several => {
                self.trouble.set(Some(Trouble::Unknown));
                None
            }
        }
    }

    fn holders(&self, field: &str, value: &str) -> Hits<Place> {
        if self.look.project.field(field).is_none() {
            self.trouble.set(Some(Trouble::Unknown));
            return Hits::None;
        }
        let hashes = &self.memory.hashes;
        let key = hashes.value(self.look.asked.project_no, field, value);
        self.value.set(Some(key));
        self.holder(Kind::Value, key)
    }

    fn is_blocked(&self, _: &ConnectorIdentity, customer: Place) -> bool {
        // Whoever changes now is looked at again.
        let blocked = self.memory.has(customer, Kind::Blocked, self.look.key);
        blocked.unwrap_or_default()
    }
}
