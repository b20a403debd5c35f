//! From a customer as they will be to what look-ups read: the record, its place in the indexes, and the room that is left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::Writer;
use crate::identity::memory::Memory;
use crate::identity::memory::draft::{Draft, Drafts, Entry, Old};
use crate::identity::memory::keys::Key;
use crate::identity::memory::project::Project;
use crate::identity::memory::record::{Kind, NO_GRANT, Record, Thing, Written};
use crate::identity::memory::space::Place;
use crate::identity::memory::streams::Streams;

impl Writer {
    /// Brings customers into effect. Where something goes from one to another, the gate is shut: it would be nobody's, or
    /// both's, for a moment.
    pub(super) fn commit(&mut self, drafts: Drafts) {
        let moved = moved(&drafts);
        let gates: Vec<Arc<Project>> = moved
            .iter()
            .filter_map(|number| self.memory.projects.get(*number))
            .collect();
        for project in &gates {
            project.turn();
        }
        for (stream, entry) in drafts {
            self.put(stream, entry);
        }
        for project in &gates {
            project.turn();
        }
    }

    /// Brings one customer into effect.
    pub(super) fn put(&mut self, stream: Uuid, mut entry: Entry) {
        let project_no = entry.project_no;
        // Whom nothing finds is not kept, nor who is of a project that is left out.
        let is_out = || {
            let held = self.memory.projects.hold(project_no);
            held.project().is_some_and(|project| project.is_out)
        };
        entry.new.take_if(|new| !new.is_kept() || is_out());
        let written = entry
            .new
            .as_ref()
            .map(|new| self.write(stream, &entry, new));
        let is_too_large = written == Some(None);
        if is_too_large {
            entry.new = None;
        }
        let to = written.flatten();
        if to.is_none() {
            self.waiting.remove(stream);
        }
        let memory = Arc::clone(&self.memory);
        let after = entry.new.as_ref().map_or(0, Draft::size);
        let before = entry.old.as_ref().map_or(0, Old::size);
        self.count(project_no, after, before);
        if let Some(to) = to {
            let from = entry.old.as_ref().map(|old| old.place);
            if from != Some(to) {
                self.streams.put(&memory.hashes, &memory.space, from, to);
            }
            if let Some(from) = from.filter(|from| *from != to) {
                for (kind, key) in entry.stays() {
                    memory.index(kind).replace(key, from, to);
                }
            }
            for (kind, key) in entry.gained() {
                let has = |place| Record::of(memory.space.words(place)).has(kind, key);
                memory.index(kind).add(key, to, has);
            }
        }
        if let Some(old) = &entry.old {
            for (kind, key) in entry.lost() {
                memory.index(kind).remove(key, old.place);
            }
            self.forget(old, to);
        }
        if is_too_large {
            self.leave_out(project_no);
        }
    }

    /// Writes the record of a customer; `None` where there is no room for it.
    fn write(&mut self, stream: Uuid, entry: &Entry, new: &Draft) -> Option<Place> {
        let (space, grants) = (&self.memory.space, &self.memory.grants);
        let taken = &mut self.taken;
        let things: Vec<Thing> = new
            .things
            .iter()
            .map(|thing| Thing {
                key: thing.key,
                kind: thing.kind,
                name: thing.name,
                grant: thing
                    .grant
                    .as_ref()
                    .map_or(NO_GRANT, |granted| taken.take(grants, &granted.terms)),
            })
            .collect();
        let written = Written {
            stream,
            project_no: entry.project_no,
            enabled: new.enabled,
            things: &things,
            names: &new.names,
        };
        let mut words = Vec::new();
        written.push_to(&mut words);
        let place = match &entry.old {
            Some(old) => self.room.replace(space, old.place, old.words, &words),
            None => self.room.put(space, &words),
        };
        if place.is_some() {
            let text = new.names.text().len();
            self.memory.texts.fetch_add(text, Ordering::Relaxed);
        } else {
            for thing in &things {
                taken.give_back(grants, thing.grant);
            }
        }
        place
    }

    /// What was kept of a customer is gone, or is at another place by now.
    fn forget(&mut self, old: &Old, to: Option<Place>) {
        let memory = &self.memory;
        memory.texts.fetch_sub(old.text, Ordering::Relaxed);
        if to.is_none() {
            self.streams
                .remove(&memory.hashes, &memory.space, old.place);
        }
        if to != Some(old.place) {
            self.room.give_back(&memory.space, old.place, old.words);
        }
        // Last: who reads the record of before must not find that it has no grant any more.
        for thing in &old.things {
            self.taken.give_back(&memory.grants, thing.grant);
        }
    }

    /// A customer as they are.
    pub(super) fn entry(&self, project_no: i32, stream: Uuid) -> Entry {
        Self::entry_of(&self.memory, &self.streams, project_no, stream)
    }

    pub(super) fn entry_of(
        memory: &Memory,
        streams: &Streams,
        project_no: i32,
        stream: Uuid,
    ) -> Entry {
        let place = streams.find(&memory.hashes, &memory.space, stream);
        place.map_or_else(
            || Entry::absent(project_no),
            |place| Entry::of(place, Record::of(memory.space.words(place)), &memory.grants),
        )
    }

    /// Customers and identities that a project has more, and less.
    pub(super) fn count(&mut self, project_no: i32, more: usize, less: usize) {
        let size = self.sizes.entry(project_no).or_default();
        let before = *size;
        *size = (before + more).saturating_sub(less);
        self.size = self.size + *size - before;
    }

    /// Leaves the largest projects to the read tables while there are too many customers.
    pub(super) fn make_room(&mut self) {
        while self.size > self.most {
            let largest = self.sizes.iter().max_by_key(|(_, size)| **size);
            let Some((project_no, size)) = largest.map(|(number, size)| (*number, *size)) else {
                return;
            };
            tracing::warn!(
                project_no,
                size,
                "a project is too large for the memory of identities"
            );
            self.leave_out(project_no);
        }
    }

    /// Says what the one who writes has beside the memory.
    pub(super) fn weigh(&self) {
        let beside = self.streams.bytes();
        self.memory.beside.store(beside, Ordering::Relaxed);
    }

    /// Leaves a project to the read tables.
    pub(in crate::identity) fn leave_out(&mut self, project_no: i32) {
        self.edit(project_no, |project| project.is_out = true);
        self.refills.remove(&project_no);
        for stream in self.streams.of_project(&self.memory.space, project_no) {
            let mut entry = self.entry(project_no, stream);
            entry.new = None;
            self.put(stream, entry);
        }
        let size = self.sizes.remove(&project_no);
        self.size -= size.unwrap_or_default();
    }
}

/// The projects in which something goes from one customer to another.
fn moved(drafts: &Drafts) -> HashSet<i32> {
    let mut lost: HashMap<(bool, Key), Uuid> = HashMap::new();
    for (stream, entry) in drafts {
        for (kind, key) in entry.lost() {
            lost.insert((kind == Kind::Value, key), *stream);
        }
    }
    if lost.is_empty() {
        return HashSet::new();
    }
    let moved = drafts.values().filter(|entry| {
        let mut gained = entry.gained();
        gained.any(|(kind, key)| lost.contains_key(&(kind == Kind::Value, key)))
    });
    moved.map(|entry| entry.project_no).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roster_domain::access::Terms;
    use roster_domain::value::{Profile, Value};
    use uuid::Uuid;

    use super::super::Writer;
    use crate::identity::memory::draft::Draft;
    use crate::identity::memory::index::Holder;
    use crate::identity::memory::keys::Key;
    use crate::identity::memory::names::Names;
    use crate::identity::memory::record::{Kind, Record};
    use crate::identity::memory::terms::Granted;
    use crate::identity::memory::{Memory, Place};

    const PROJECT: i32 = 1;

    fn stream(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// Changes somebody.
    fn change(writer: &mut Writer, number: u128, change: impl FnOnce(&mut Draft)) {
        let mut entry = writer.entry(PROJECT, stream(number));
        let mut draft = entry.new.take().unwrap_or_else(Draft::unread);
        change(&mut draft);
        entry.new = Some(draft);
        writer.put(stream(number), entry);
    }

    fn named(name: &str) -> Names {
        let profile = Profile::from([("name".into(), Value::Text(name.into()))]);
        Names::kept("c1", &profile)
    }

    fn place(memory: &Memory, key: Key) -> Option<Place> {
        match memory
            .identities
            .get(key, |place| memory.has(place, Kind::Linked, key))
        {
            Holder::One(place) => Some(place),
            _ => None,
        }
    }

    #[test]
    fn who_grows_is_at_another_place_and_what_was_there_is_gone() {
        let memory = Arc::new(Memory::new());
        let mut writer = Writer::new(Arc::clone(&memory), usize::MAX);
        let keys = [1, 2].map(|number| memory.hashes.identity(PROJECT, "sms", &number.to_string()));
        let terms = Terms {
            agents: vec!["sales".into()],
            enabled: true,
            expires_at: None,
        };
        change(&mut writer, 7, |draft| {
            draft.names = named("Ada");
            draft.add(Kind::Linked, 0, keys[0]);
            draft.things[0].grant = Some(Granted::of(&terms));
        });
        let before = place(&memory, keys[0]).expect("a place");
        change(&mut writer, 7, |draft| {
            draft.names = named("Augusta Ada King, Countess of Lovelace");
            draft.add(Kind::Linked, 0, keys[1]);
        });
        let after = place(&memory, keys[0]).expect("a place");
        assert_ne!(before, after);
        assert_eq!(place(&memory, keys[1]), Some(after));
        assert_eq!(writer.size(), 3);
        let record = Record::of(memory.space.words(after));
        assert_eq!(record.stream(), stream(7));
        assert_eq!(
            record.shown().display_name(),
            "Augusta Ada King, Countess of Lovelace"
        );
        let grant = record.things().map(|thing| thing.grant).max();
        assert!(grant.is_some_and(|grant| memory.grants.read().get(grant).is_some()));
        assert_eq!(memory.weight().texts, record.text());
        let old = Record::of(memory.space.words(before));
        assert_eq!((old.stream(), old.size(), old.text()), (Uuid::nil(), 4, 0));
        change(&mut writer, 7, |draft| draft.things.clear());
        assert_eq!(keys.map(|key| place(&memory, key)), [None, None]);
        assert_eq!((writer.size(), memory.weight().texts), (0, 0));
        assert!(grant.is_some_and(|grant| memory.grants.read().get(grant).is_none()));
        assert!(writer.entry(PROJECT, stream(7)).old.is_none());
    }

    #[test]
    fn a_project_with_somebody_for_whom_there_is_no_room_is_left_out() {
        let memory = Arc::new(Memory::new());
        let mut writer = Writer::new(Arc::clone(&memory), usize::MAX);
        let keys = [1, 2].map(|number| memory.hashes.identity(PROJECT, "sms", &number.to_string()));
        change(&mut writer, 7, |draft| draft.add(Kind::Linked, 0, keys[0]));
        assert_eq!((writer.size(), memory.left_out()), (2, 0));
        change(&mut writer, 8, |draft| {
            draft.names = named(&"A".repeat(3 << 20));
            draft.add(Kind::Linked, 0, keys[1]);
        });
        assert_eq!((writer.size(), memory.left_out()), (0, 1));
        change(&mut writer, 9, |draft| draft.add(Kind::Linked, 0, keys[1]));
        assert_eq!(keys.map(|key| place(&memory, key)), [None, None]);
    }
}
