//! The memory from the read tables: a row at a time, what customers have before themselves, so that those whom nothing finds
//! never come in.

use std::collections::{BTreeMap, HashMap};

use roster_domain::access::{Terms, WILDCARD};
use roster_domain::schema::Definition;
use roster_domain::value::{Value, profile_members};
use roster_store::StoreError;
use uuid::Uuid;

use super::Writer;
use crate::identity::memory::keys::{Hashes, Key};
use crate::identity::memory::names::Names;
use crate::identity::memory::slots::{Kind, NewNode, NewSlot, Place, Shard};

/// A row of `view_customers`.
pub(in crate::identity) struct CustomerRow<'a> {
    pub(in crate::identity) project_no: i32,
    pub(in crate::identity) stream: Uuid,
    pub(in crate::identity) customer_user_id: &'a str,
    pub(in crate::identity) enabled: bool,
    /// JSON, unless every channel is as it is by itself.
    pub(in crate::identity) switches: Option<&'a str>,
    /// JSON.
    pub(in crate::identity) profile: &'a str,
}

/// The key of a row of `view_identities`, `view_grants` or `view_blocks`.
pub(in crate::identity) struct IdentityRow<'a> {
    pub(in crate::identity) project_no: i32,
    pub(in crate::identity) channel: &'a str,
    pub(in crate::identity) external_user_id: &'a str,
    pub(in crate::identity) stream: Uuid,
}

impl Writer {
    /// A row of `view_schemas`. These come first.
    pub(in crate::identity) fn load_schema(
        &mut self,
        project_no: i32,
        definition: Definition,
        version: i32,
    ) {
        self.replace_schema(project_no, definition, version);
        // Every customer who comes from here on brings their values.
        self.edit(project_no, |project| {
            for field in &mut project.fields {
                field.is_filled = true;
            }
        });
    }

    /// A row of `view_customers`: of somebody who has an identity, or has a value that rules look up.
    pub(in crate::identity) fn load_customer(
        &mut self,
        row: &CustomerRow<'_>,
    ) -> Result<(), StoreError> {
        let Some(project) = self.memory.projects.get(row.project_no) else {
            return Ok(());
        };
        let number = self.memory.shard_of(row.stream);
        let known = self
            .memory
            .read(number)
            .find(&self.memory.hashes, row.stream);
        if project.is_out || (known.is_none() && project.wanted().next().is_none()) {
            return Ok(());
        }
        let malformed = || StoreError::Malformed("copied profile");
        let is_wanted =
            |name: &str| Names::are_of(name) || project.wanted().any(|(_, field)| field == name);
        let profile = profile_members(row.profile, is_wanted).ok_or_else(malformed)?;
        let mut keys: Vec<(u16, Key)> = Vec::new();
        for (number, field) in project.wanted() {
            if let Some(value) = profile.get(field).map(Value::as_text) {
                let key = self.memory.hashes.value(row.project_no, field, value);
                keys.push((number, key));
            }
        }
        if known.is_none() && keys.is_empty() {
            return Ok(());
        }
        let switches: BTreeMap<String, bool> = match row.switches {
            Some(json) => serde_json::from_str(json).map_err(|_| malformed())?,
            None => BTreeMap::new(),
        };
        let switches: Box<[(u16, bool)]> = switches
            .into_iter()
            .map(|(channel, is_on)| (self.channel(row.project_no, &channel), is_on))
            .collect();
        let slot = known.unwrap_or_else(|| self.place(row.project_no, row.stream));
        let mut shard = self.memory.write(number);
        shard.complete(
            slot,
            Names::kept(row.customer_user_id, &profile),
            row.enabled,
            (!switches.is_empty()).then_some(switches),
        );
        for (name, key) in &keys {
            let node = NewNode {
                low: key.low(),
                name: *name,
                kind: Kind::Value,
                grant: None,
            };
            shard.attach(slot, node);
        }
        drop(shard);
        for (_, key) in keys {
            self.memory.values.add(key, Place::new(number, slot));
        }
        self.make_room();
        Ok(())
    }

    pub(in crate::identity) fn load_link(&mut self, row: &IdentityRow<'_>) {
        if let Some((place, key)) = self.attach(row, Kind::Linked) {
            self.memory.identities.add(key, place);
            *self.sizes.entry(row.project_no).or_default() += 1;
            self.make_room();
        }
    }

    pub(in crate::identity) fn load_block(&mut self, row: &IdentityRow<'_>) {
        self.attach(row, Kind::Blocked);
        self.make_room();
    }

    pub(in crate::identity) fn load_grant(&mut self, row: &IdentityRow<'_>, terms: &Terms) {
        let granted = self.kept.of(terms);
        if row.external_user_id == WILDCARD {
            self.edit(row.project_no, |project| {
                project.channel_mut(row.channel).wildcard = Some((row.stream, granted));
            });
            return;
        }
        let number = self.memory.shard_of(row.stream);
        let key = self.key(row);
        let mut shard = self.memory.write(number);
        if let Some(slot) = shard.find(&self.memory.hashes, row.stream) {
            shard.grant(slot, key.low(), granted);
        }
    }

    fn attach(&mut self, row: &IdentityRow<'_>, kind: Kind) -> Option<(Place, Key)> {
        if self.memory.projects.get(row.project_no)?.is_out {
            return None;
        }
        let name = self.channel(row.project_no, row.channel);
        let key = self.key(row);
        let number = self.memory.shard_of(row.stream);
        let node = NewNode {
            low: key.low(),
            name,
            kind,
            grant: None,
        };
        let mut shard = self.memory.write(number);
        let sizes = &mut self.sizes;
        let slot = Self::place_in(
            &mut shard,
            &self.memory.hashes,
            sizes,
            row.project_no,
            row.stream,
        );
        shard.attach(slot, node);
        drop(shard);
        Some((Place::new(number, slot), key))
    }

    /// The slot of a stream, in the shard that it belongs to; a new one is of somebody whose row is still to be read.
    pub(super) fn place(&mut self, project_no: i32, stream: Uuid) -> u32 {
        let mut shard = self.memory.write(self.memory.shard_of(stream));
        let sizes = &mut self.sizes;
        Self::place_in(&mut shard, &self.memory.hashes, sizes, project_no, stream)
    }

    fn place_in(
        shard: &mut Shard,
        hashes: &Hashes,
        sizes: &mut HashMap<i32, usize>,
        project_no: i32,
        stream: Uuid,
    ) -> u32 {
        if let Some(slot) = shard.find(hashes, stream) {
            return slot;
        }
        *sizes.entry(project_no).or_default() += 1;
        shard.put(hashes, NewSlot::unread(stream, project_no))
    }

    fn key(&self, row: &IdentityRow<'_>) -> Key {
        let hashes = &self.memory.hashes;
        hashes.identity(row.project_no, row.channel, row.external_user_id)
    }
}
