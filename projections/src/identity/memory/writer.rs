//! The one who writes the memory: pages of the log, in order.

mod load;
mod refill;
mod unread;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::customer::CustomerEvent;
use roster_domain::event::{DecodeError, StoredEvent};
use roster_domain::schema::{Definition, Schema, SchemaEvent};
use roster_domain::value::{Profile, Value};
use roster_store::{Recorded, StoreError};
use uuid::Uuid;

use super::draft::{Draft, Drafts, Entry, Old};
use super::keys::Low;
use super::names::Names;
use super::project::Project;
use super::slots::{Kind, Place, Shard};
use super::terms::Kept;
use super::{Index, Memory};
pub(in crate::identity) use load::{CustomerRow, IdentityRow};
pub(in crate::identity) use refill::Refill;
use refill::Refilling;
pub(in crate::identity) use unread::Unread;
use unread::Waiting;

/// Writes the memory; there is only one.
pub(in crate::identity) struct Writer {
    memory: Arc<Memory>,
    kept: Kept,
    /// The most customers and identities.
    most: usize,
    sizes: HashMap<i32, usize>,
    refills: HashMap<i32, Refilling>,
    refilled: u64,
    /// Customers who can be found now and could not before.
    waiting: Waiting,
}

impl Writer {
    /// Of a memory that nobody else writes, for so many customers and identities together.
    pub(in crate::identity) fn new(memory: Arc<Memory>, most: usize) -> Self {
        Self {
            memory,
            kept: Kept::new(),
            most,
            sizes: HashMap::new(),
            refills: HashMap::new(),
            refilled: 0,
            waiting: Waiting::default(),
        }
    }

    /// Forgets everything.
    pub(in crate::identity) fn clear(&mut self) {
        let memory = &self.memory;
        memory.projects.clear();
        memory.identities.clear();
        memory.values.clear();
        for shard in &memory.shards {
            *shard.write().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
        self.kept = Kept::new();
        self.sizes.clear();
        self.refills.clear();
        self.waiting = Waiting::default();
    }

    /// Customers and identities that are kept.
    pub(in crate::identity) fn size(&self) -> usize {
        self.sizes.values().sum()
    }

    /// Applies a page; gives what is to be read from the tables because of it.
    ///
    /// # Errors
    /// An event that does not decode, or of a type that a newer build wrote: what it means is unknown.
    pub(in crate::identity) fn apply(
        &mut self,
        page: &[Recorded],
    ) -> Result<Vec<Refill>, StoreError> {
        let mut refills = Vec::new();
        let mut drafts = Drafts::new();
        for recorded in page {
            if is::<CustomerEvent>(recorded) {
                let event = recorded.decode()?;
                self.collect(&mut drafts, recorded, event);
            } else if is::<ChannelAccessEvent>(recorded) {
                self.commit(std::mem::take(&mut drafts));
                self.wildcard(recorded, recorded.decode()?);
            } else if is::<SchemaEvent>(recorded) {
                if let SchemaEvent::Replaced {
                    version,
                    definition,
                    ..
                } = recorded.decode()?
                {
                    self.commit(std::mem::take(&mut drafts));
                    let project_no = recorded.project_no;
                    self.replace_schema(project_no, definition, version);
                    refills.extend(self.wish(project_no, recorded.position));
                }
            } else if recorded.name().is_none() {
                return Err(StoreError::Decode {
                    position: recorded.position,
                    source: DecodeError::UnknownType {
                        type_no: recorded.type_no,
                        type_version: recorded.type_version,
                    },
                });
            }
        }
        self.commit(drafts);
        self.make_room();
        Ok(refills)
    }

    fn collect(&mut self, drafts: &mut Drafts, recorded: &Recorded, event: CustomerEvent) {
        let (stream, project_no) = (recorded.stream, recorded.project_no);
        let Some(project) = self.memory.projects.get(project_no) else {
            return;
        };
        if project.is_out {
            return;
        }
        self.waiting.heard(stream, recorded.position);
        let entry = drafts
            .entry(stream)
            .or_insert_with(|| self.memory.entry(project_no, stream));
        match event {
            CustomerEvent::Registered {
                customer_user_id,
                profile,
                enabled,
                connector_enabled,
                ..
            } => {
                // Who was erased since is not there.
                entry.new = match (customer_user_id.known(), profile.known()) {
                    (Some(id), Some(profile)) => {
                        let mut draft = Draft {
                            names: Names::kept(id, profile),
                            enabled,
                            switches: Vec::new(),
                            nodes: Vec::new(),
                        };
                        self.set(&project, &mut draft, project_no, profile);
                        self.touch(project_no, stream, None);
                        for (channel, is_on) in connector_enabled {
                            draft.switch(self.channel(project_no, &channel), is_on);
                        }
                        Some(draft)
                    }
                    _ => None,
                };
            }
            CustomerEvent::Updated {
                change,
                enabled,
                connector_enabled,
                ..
            } => {
                let Some(change) = change.known() else {
                    entry.new = None;
                    return;
                };
                for (number, field) in project.wanted() {
                    let is_set = change.set.contains_key(field);
                    if !is_set && !change.cleared.iter().any(|cleared| cleared == field) {
                        continue;
                    }
                    self.touch(project_no, stream, Some(number));
                    if let Some(draft) = &mut entry.new {
                        draft.clear(number);
                    } else if is_set {
                        entry.new = Some(self.unread(stream, recorded.position));
                    }
                }
                let Some(draft) = &mut entry.new else {
                    return;
                };
                draft.names = draft.names.changed(&change.set, &change.cleared);
                self.set(&project, draft, project_no, &change.set);
                draft.enabled = enabled.unwrap_or(draft.enabled);
                for (channel, is_on) in connector_enabled {
                    draft.switch(self.channel(project_no, &channel), is_on);
                }
            }
            CustomerEvent::IdentityLinked {
                channel,
                external_user_id,
                ..
            } => {
                if let Some(id) = external_user_id.known() {
                    let draft = entry
                        .new
                        .get_or_insert_with(|| self.unread(stream, recorded.position));
                    let key = self.memory.hashes.identity(project_no, &channel, id);
                    draft.remove(Kind::Blocked, key.low());
                    draft.add(Kind::Linked, self.channel(project_no, &channel), key);
                }
            }
            CustomerEvent::IdentityUnlinked {
                channel,
                external_user_id,
                blocks,
                ..
            } => {
                if let (Some(id), Some(draft)) = (external_user_id.known(), &mut entry.new) {
                    let key = self.memory.hashes.identity(project_no, &channel, id);
                    draft.remove(Kind::Linked, key.low());
                    if blocks {
                        draft.add(Kind::Blocked, self.channel(project_no, &channel), key);
                    }
                }
            }
            CustomerEvent::GrantSet {
                channel,
                external_user_id,
                terms,
                ..
            } => {
                if let (Some(id), Some(draft)) = (external_user_id.known(), &mut entry.new) {
                    let key = self.memory.hashes.identity(project_no, &channel, id);
                    if let Some(node) = draft.linked(key.low()) {
                        node.grant = Some(self.kept.of(&terms));
                    }
                }
            }
            CustomerEvent::GrantRevoked {
                channel,
                external_user_id,
                ..
            } => {
                if let (Some(id), Some(draft)) = (external_user_id.known(), &mut entry.new) {
                    let key = self.memory.hashes.identity(project_no, &channel, id);
                    if let Some(node) = draft.linked(key.low()) {
                        node.grant = None;
                    }
                }
            }
            CustomerEvent::Erased { .. } => {
                entry.new = None;
                self.touch(project_no, stream, None);
            }
            CustomerEvent::FieldsClaimed { .. } => {}
        }
    }

    /// The values that rules look up.
    fn set(&self, project: &Project, draft: &mut Draft, project_no: i32, profile: &Profile) {
        for (number, field) in project.wanted() {
            if let Some(text) = profile.get(field).map(Value::as_text) {
                let key = self.memory.hashes.value(project_no, field, text);
                draft.add(Kind::Value, number, key);
            }
        }
    }

    /// Brings customers into effect. Where something goes from one to another, the gate is shut: it would be nobody's, or
    /// both's, for a moment.
    fn commit(&mut self, drafts: Drafts) {
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

    fn put(&mut self, stream: Uuid, mut entry: Entry) {
        let memory = Arc::clone(&self.memory);
        // Whom nothing finds is not kept.
        entry.new.take_if(|new| new.nodes.is_empty());
        if entry.new.is_none() {
            self.waiting.remove(stream);
        }
        let lost: Vec<(Kind, Low)> = entry.lost().collect();
        let gained: Vec<_> = entry.gained().collect();
        let before = entry.old.as_ref().map_or(0, Old::size);
        let after = entry.new.as_ref().map_or(0, Draft::size);
        let size = self.sizes.entry(entry.project_no).or_default();
        *size = (*size + after).saturating_sub(before);
        let number = memory.shard_of(stream);
        match (entry.new, entry.old) {
            (Some(new), old) => {
                let new = new.into_slot(stream, entry.project_no);
                let slot = memory.write(number).put(&memory.hashes, new);
                let place = old.map_or_else(|| Place::new(number, slot), |old| old.place);
                for (kind, low) in lost {
                    memory.index(kind).remove(low, place);
                }
                for (kind, key) in gained {
                    memory.index(kind).add(key, place);
                }
            }
            (None, Some(old)) => {
                for (kind, low) in lost {
                    memory.index(kind).remove(low, old.place);
                }
                let slot = old.place.slot();
                memory.write(number).remove(&memory.hashes, slot);
            }
            (None, None) => {}
        }
    }

    fn wildcard(&mut self, recorded: &Recorded, event: ChannelAccessEvent) {
        let stream = recorded.stream;
        match event {
            ChannelAccessEvent::Granted { channel, terms, .. } => {
                let granted = self.kept.of(&terms);
                self.edit(recorded.project_no, |project| {
                    project.channel_mut(&channel).wildcard = Some((stream, granted));
                });
            }
            ChannelAccessEvent::Revoked { .. } => {
                self.edit(recorded.project_no, |project| project.revoke(stream));
            }
        }
    }

    /// Another schema takes effect. One that does not compile leaves the project to the read tables.
    fn replace_schema(&mut self, project_no: i32, definition: Definition, version: i32) {
        let schema = Schema::compile(definition, version).map(Arc::new);
        let mut dropped = Vec::new();
        self.edit(project_no, |project| match schema {
            Ok(schema) => dropped = project.replace_schema(schema),
            Err(_) => project.is_out = true,
        });
        if !dropped.is_empty() {
            self.untouch(project_no, &dropped);
            self.drop_values(project_no, &dropped);
        }
    }

    /// Takes the values of fields that rules no longer name.
    fn drop_values(&self, project_no: i32, fields: &[u16]) {
        for number in 0..self.memory.shards.len() {
            let dropped = self.memory.write(number).drop_values(project_no, fields);
            for (slot, low) in dropped {
                self.memory.values.remove(low, Place::new(number, slot));
            }
        }
    }

    /// The number of a channel.
    fn channel(&self, project_no: i32, name: &str) -> u16 {
        let known = self.memory.projects.get(project_no);
        let number = |project: &Project| Some(project.channel(name)?.0);
        known
            .and_then(|project| number(&project))
            .unwrap_or_else(|| {
                let mut new = None;
                self.edit(project_no, |project| {
                    project.channel_mut(name);
                    new = number(project);
                });
                new.unwrap_or(u16::MAX)
            })
    }

    /// Changes a project behind its gate.
    fn edit(&self, project_no: i32, change: impl FnOnce(&mut Project)) {
        let projects = &self.memory.projects;
        let known = projects.known(project_no);
        let Some(mut project) = known.as_deref().cloned().or_else(Project::new) else {
            return;
        };
        let gate = Arc::clone(&project.gate);
        project.turn();
        change(&mut project);
        projects.put(project_no, project);
        gate.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }

    /// Leaves the largest projects to the read tables while there are too many customers.
    fn make_room(&mut self) {
        while self.size() > self.most {
            let largest = self.sizes.iter().max_by_key(|(_, size)| **size);
            let Some((project_no, size)) = largest.map(|(number, size)| (*number, *size)) else {
                return;
            };
            tracing::warn!(
                project_no,
                size,
                "a project is too large for the memory of identities"
            );
            self.edit(project_no, |project| project.is_out = true);
            self.sizes.remove(&project_no);
            self.refills.remove(&project_no);
            for number in 0..self.memory.shards.len() {
                let slots = self.memory.read(number).of_project(project_no);
                for (_, stream) in slots {
                    let mut entry = self.memory.entry(project_no, stream);
                    entry.new = None;
                    self.put(stream, entry);
                }
            }
            self.sizes.remove(&project_no);
        }
    }
}

impl Memory {
    fn entry(&self, project_no: i32, stream: Uuid) -> Entry {
        let number = self.shard_of(stream);
        let shard = self.read(number);
        let found = shard.find(&self.hashes, stream);
        let found = found.and_then(|slot| Some((slot, shard.slot(slot)?)));
        found.map_or_else(
            || Entry::absent(project_no),
            |(slot, kept)| Entry::of(&shard, Place::new(number, slot), kept),
        )
    }

    fn write(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shards[shard].write();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    const fn index(&self, kind: Kind) -> &Index {
        match kind {
            Kind::Value => &self.values,
            Kind::Linked | Kind::Blocked => &self.identities,
        }
    }
}

/// The projects in which something goes from one customer to another.
fn moved(drafts: &Drafts) -> HashSet<i32> {
    let mut lost: HashMap<(bool, Low), Uuid> = HashMap::new();
    for (stream, entry) in drafts {
        for (kind, low) in entry.lost() {
            lost.insert((kind == Kind::Value, low), *stream);
        }
    }
    if lost.is_empty() {
        return HashSet::new();
    }
    let moved = drafts.values().filter(|entry| {
        let mut gained = entry.gained();
        gained.any(|(kind, key)| lost.contains_key(&(kind == Kind::Value, key.low())))
    });
    moved.map(|entry| entry.project_no).collect()
}

fn is<E: StoredEvent>(recorded: &Recorded) -> bool {
    E::TYPES
        .iter()
        .any(|known| known.type_no == recorded.type_no)
}
