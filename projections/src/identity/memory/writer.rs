//! The one who writes the memory: pages of the log, in order.

mod draw;
mod load;
mod pending;
mod put;
mod refill;
mod unread;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::customer::CustomerEvent;
use roster_domain::event::{DecodeError, StoredEvent};
use roster_domain::schema::{Definition, Schema, SchemaEvent};
use roster_domain::value::{Profile, Value};
use roster_store::{Recorded, StoreError};

use super::Memory;
use super::draft::{Draft, Drafts};
use super::names::Names;
use super::project::Project;
use super::record::Kind;
use super::space::Room;
use super::streams::Streams;
use super::terms::{Granted, Taken};
pub(in crate::identity) use draw::{Drawer, Drawn};
pub(in crate::identity) use load::{CustomerRow, IdentityRow};
use pending::Pending;
pub(in crate::identity) use refill::Refill;
use refill::Refilling;
pub(in crate::identity) use unread::Unread;
use unread::Waiting;

/// Writes the memory; there is only one.
pub(in crate::identity) struct Writer {
    memory: Arc<Memory>,
    room: Room,
    streams: Streams,
    taken: Taken,
    /// What customers have whose rows come later; only while the memory is filled.
    pending: Pending,
    /// The most customers and identities.
    most: usize,
    /// Customers and identities by project, and of all.
    sizes: HashMap<i32, usize>,
    size: usize,
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
            room: Room::new(),
            streams: Streams::new(),
            taken: Taken::default(),
            pending: Pending::default(),
            most,
            sizes: HashMap::new(),
            size: 0,
            refills: HashMap::new(),
            refilled: 0,
            waiting: Waiting::default(),
        }
    }

    /// Forgets everything.
    pub(in crate::identity) fn clear(&mut self) {
        let memory = Arc::clone(&self.memory);
        memory.projects.clear();
        memory.identities.clear();
        memory.values.clear();
        memory.space.clear();
        memory.texts.store(0, Ordering::Relaxed);
        self.taken.clear(&memory.grants);
        *self = Self {
            refilled: self.refilled,
            ..Self::new(memory, self.most)
        };
    }

    /// Customers and identities that are kept.
    pub(in crate::identity) const fn size(&self) -> usize {
        self.size
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
        self.weigh();
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
            .or_insert_with(|| Self::entry_of(&self.memory, &self.streams, project_no, stream));
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
                            things: Vec::new(),
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
                    draft.remove(Kind::Blocked, key);
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
                    draft.remove(Kind::Linked, key);
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
                    if let Some(thing) = draft.linked(key) {
                        thing.grant = Some(Granted::of(&terms));
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
                    if let Some(thing) = draft.linked(key) {
                        thing.grant = None;
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

    fn wildcard(&mut self, recorded: &Recorded, event: ChannelAccessEvent) {
        let stream = recorded.stream;
        match event {
            ChannelAccessEvent::Granted { channel, terms, .. } => {
                let granted = Granted::of(&terms);
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
    fn drop_values(&mut self, project_no: i32, fields: &[u16]) {
        for stream in self.streams.of_project(&self.memory.space, project_no) {
            let mut entry = self.entry(project_no, stream);
            if let Some(draft) = &mut entry.new {
                for field in fields {
                    draft.clear(*field);
                }
            }
            self.put(stream, entry);
        }
    }

    /// The number of a channel.
    fn channel(&self, project_no: i32, name: &str) -> u16 {
        let held = self.memory.projects.hold(project_no);
        let known = held.project().and_then(|project| project.channel(name));
        drop(held);
        known.unwrap_or_else(|| {
            let mut new = None;
            self.edit(project_no, |project| {
                project.channel_mut(name);
                new = project.channel(name);
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
        project.make_keys(|channel| self.memory.hashes.channel(project_no, channel));
        projects.put(project_no, project);
        gate.fetch_add(1, Ordering::SeqCst);
    }
}

fn is<E: StoredEvent>(recorded: &Recorded) -> bool {
    E::TYPES
        .iter()
        .any(|known| known.type_no == recorded.type_no)
}
