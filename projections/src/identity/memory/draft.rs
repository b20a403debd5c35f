//! One customer while a page changes them.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::keys::Key;
use super::names::Names;
use super::record::{Kind, Record, Thing};
use super::space::Place;
use super::terms::{Granted, Grants};

/// The customers whom a page changes.
pub(super) type Drafts = HashMap<Uuid, Entry>;

/// A customer before and after.
pub(super) struct Entry {
    pub(super) project_no: i32,
    pub(super) old: Option<Old>,
    /// `None` where there is nobody.
    pub(super) new: Option<Draft>,
}

/// What is kept of a customer before the page.
pub(super) struct Old {
    pub(super) place: Place,
    /// Words of the record.
    pub(super) words: usize,
    /// Bytes of names.
    pub(super) text: usize,
    pub(super) things: Vec<Thing>,
}

/// A customer as they will be.
pub(super) struct Draft {
    pub(super) names: Names,
    pub(super) enabled: bool,
    pub(super) things: Vec<DraftThing>,
}

/// Something that the customer will have.
pub(super) struct DraftThing {
    pub(super) key: Key,
    pub(super) kind: Kind,
    pub(super) name: u16,
    pub(super) grant: Option<Arc<Granted>>,
}

impl Entry {
    /// Of a customer who is kept.
    pub(super) fn of(place: Place, record: Record<'_>, grants: &Grants) -> Self {
        let things: Vec<Thing> = record.things().collect();
        let grants = grants.read();
        let drafted = things.iter().map(|thing| DraftThing {
            key: thing.key,
            kind: thing.kind,
            name: thing.name,
            grant: grants.get(thing.grant).cloned(),
        });
        Self {
            project_no: record.project_no(),
            new: Some(Draft {
                names: record.kept(),
                enabled: record.is_enabled(),
                things: drafted.collect(),
            }),
            old: Some(Old {
                place,
                words: record.size(),
                text: record.text(),
                things,
            }),
        }
    }

    /// Of a stream of which nothing is kept.
    pub(super) const fn absent(project_no: i32) -> Self {
        Self {
            project_no,
            old: None,
            new: None,
        }
    }

    /// What the indexes lose.
    pub(super) fn lost(&self) -> impl Iterator<Item = (Kind, Key)> {
        let new = self.new.as_ref();
        self.before()
            .filter(move |(kind, key)| !new.is_some_and(|new| new.has(*kind, *key)))
    }

    /// What the indexes have of the customer before and after.
    pub(super) fn stays(&self) -> impl Iterator<Item = (Kind, Key)> {
        let new = self.new.as_ref();
        self.before()
            .filter(move |(kind, key)| new.is_some_and(|new| new.has(*kind, *key)))
    }

    /// What the indexes gain.
    pub(super) fn gained(&self) -> impl Iterator<Item = (Kind, Key)> {
        let new = self.new.iter().flat_map(|new| &new.things);
        new.filter(|thing| thing.kind.is_found())
            .map(|thing| (thing.kind, thing.key))
            .filter(|gained| !self.before().any(|had| had == *gained))
    }

    fn before(&self) -> impl Iterator<Item = (Kind, Key)> {
        let old = self.old.iter().flat_map(|old| &old.things);
        old.filter(|thing| thing.kind.is_found())
            .map(|thing| (thing.kind, thing.key))
    }
}

impl Draft {
    /// Of a customer whose row is still to be read.
    pub(super) fn unread() -> Self {
        Self {
            names: Names::unread(),
            enabled: false,
            things: Vec::new(),
        }
    }

    pub(super) fn switch(&mut self, channel: u16, is_on: bool) {
        self.things
            .retain(|thing| !thing.kind.is_switch() || thing.name != channel);
        self.things.push(DraftThing {
            key: Key::of([0, 0]),
            kind: if is_on { Kind::On } else { Kind::Off },
            name: channel,
            grant: None,
        });
    }

    /// Every channel is as it is by itself.
    pub(super) fn unswitch(&mut self) {
        self.things.retain(|thing| !thing.kind.is_switch());
    }

    pub(super) fn add(&mut self, kind: Kind, name: u16, key: Key) {
        if !self.has(kind, key) {
            self.things.push(DraftThing {
                key,
                kind,
                name,
                grant: None,
            });
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, key: Key) {
        self.things
            .retain(|thing| thing.kind != kind || thing.key != key);
    }

    /// Takes the values of a field.
    pub(super) fn clear(&mut self, field: u16) {
        self.things
            .retain(|thing| thing.kind != Kind::Value || thing.name != field);
    }

    /// The bound identity.
    pub(super) fn linked(&mut self, key: Key) -> Option<&mut DraftThing> {
        self.things
            .iter_mut()
            .find(|thing| thing.kind == Kind::Linked && thing.key == key)
    }

    pub(super) fn has(&self, kind: Kind, key: Key) -> bool {
        let mut things = self.things.iter();
        things.any(|thing| thing.kind == kind && thing.key == key)
    }

    /// Whether there is something to keep: whom nothing finds is not.
    pub(super) fn is_kept(&self) -> bool {
        self.things.iter().any(|thing| !thing.kind.is_switch())
    }

    /// Customers and identities that it counts as.
    pub(super) fn size(&self) -> usize {
        let linked = |thing: &&DraftThing| thing.kind == Kind::Linked;
        1 + self.things.iter().filter(linked).count()
    }
}

impl Old {
    /// Customers and identities that it counts as.
    pub(super) fn size(&self) -> usize {
        let linked = |thing: &&Thing| thing.kind == Kind::Linked;
        1 + self.things.iter().filter(linked).count()
    }
}
