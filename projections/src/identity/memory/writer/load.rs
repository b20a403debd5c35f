//! The memory from the read tables: a row at a time, what customers have before themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use roster_domain::access::{Terms, WILDCARD};
use roster_domain::schema::Definition;
use roster_domain::value::{Value, profile_members};
use roster_store::StoreError;
use uuid::Uuid;

use super::{Drawer, Writer};
use crate::identity::memory::draft::{Draft, DraftThing};
use crate::identity::memory::keys::Key;
use crate::identity::memory::names::Names;
use crate::identity::memory::record::{Kind, NO_GRANT, Thing};
use crate::identity::memory::terms::Granted;

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

    /// A row of `view_customers`: of somebody who has an identity, or has a value that rules look up. `pending` waited for it.
    pub(super) fn load_customer(
        &mut self,
        row: &CustomerRow<'_>,
        pending: &[Thing],
    ) -> Result<(), StoreError> {
        let (project_no, stream) = (row.project_no, row.stream);
        let Some(project) = self.memory.projects.get(project_no) else {
            return Ok(());
        };
        let mut entry = self.entry(project_no, stream);
        let is_found = entry.new.is_some() || !pending.is_empty();
        if project.is_out || (!is_found && project.wanted().next().is_none()) {
            self.give_back(pending);
            return Ok(());
        }
        let malformed = || StoreError::Malformed("copied profile");
        let is_wanted =
            |name: &str| Names::are_of(name) || project.wanted().any(|(_, field)| field == name);
        let profile = profile_members(row.profile, is_wanted).ok_or_else(malformed)?;
        let mut draft = entry.new.take().unwrap_or_else(Draft::unread);
        draft.names = Names::kept(row.customer_user_id, &profile);
        draft.enabled = row.enabled;
        draft.unswitch();
        self.receive(project_no, &mut draft, pending);
        for (number, field) in project.wanted() {
            if let Some(value) = profile.get(field).map(Value::as_text) {
                let key = self.memory.hashes.value(project_no, field, value);
                draft.add(Kind::Value, number, key);
            }
        }
        if let Some(json) = row.switches {
            let switches: BTreeMap<String, bool> =
                serde_json::from_str(json).map_err(|_| malformed())?;
            for (channel, is_on) in switches {
                draft.switch(self.channel(project_no, &channel), is_on);
            }
        }
        entry.new = Some(draft);
        self.put(stream, entry);
        self.give_back(pending);
        self.make_room();
        Ok(())
    }

    pub(in crate::identity) fn load_link(&mut self, row: &IdentityRow<'_>) {
        self.expect(row, Kind::Linked);
    }

    pub(in crate::identity) fn load_block(&mut self, row: &IdentityRow<'_>) {
        self.expect(row, Kind::Blocked);
    }

    pub(in crate::identity) fn load_grant(&mut self, row: &IdentityRow<'_>, terms: &Terms) {
        if row.external_user_id == WILDCARD {
            let granted = Granted::of(terms);
            self.edit(row.project_no, |project| {
                project.channel_mut(row.channel).wildcard = Some((row.stream, granted));
            });
            return;
        }
        let key = self.key(row);
        let hashes = &self.memory.hashes;
        if let Some(thing) = self.pending.linked(hashes, row.stream, key) {
            thing.grant = self.taken.take(&self.memory.grants, terms);
        }
    }

    /// Everything that waits for customers was read; what draws their records.
    pub(in crate::identity) fn expected(&mut self) -> Drawer {
        self.streams.reserve(self.pending.streams());
        let pending = std::mem::take(&mut self.pending);
        Drawer::new(Arc::clone(&self.memory), pending)
    }

    /// Everything was read.
    pub(in crate::identity) fn loaded(&self) {
        self.weigh();
    }

    /// Something of a customer who comes later. It counts from now on, so that what waits is bounded, too.
    fn expect(&mut self, row: &IdentityRow<'_>, kind: Kind) {
        let held = self.memory.projects.hold(row.project_no);
        if held.project().is_none_or(|project| project.is_out) {
            return;
        }
        drop(held);
        let thing = Thing {
            key: self.key(row),
            kind,
            name: self.channel(row.project_no, row.channel),
            grant: NO_GRANT,
        };
        self.pending.add(&self.memory.hashes, row.stream, thing);
        self.count(row.project_no, 1, 0);
        self.make_room();
    }

    /// A customer gets what waited.
    fn receive(&mut self, project_no: i32, draft: &mut Draft, pending: &[Thing]) {
        self.count(project_no, 0, pending.len());
        let grants = self.memory.grants.read();
        draft.things.extend(pending.iter().map(|thing| DraftThing {
            key: thing.key,
            kind: thing.kind,
            name: thing.name,
            grant: grants.get(thing.grant).cloned(),
        }));
    }

    /// What waited has its terms no longer; those who came have them.
    pub(super) fn give_back(&mut self, pending: &[Thing]) {
        for thing in pending {
            self.taken.give_back(&self.memory.grants, thing.grant);
        }
    }

    fn key(&self, row: &IdentityRow<'_>) -> Key {
        let hashes = &self.memory.hashes;
        hashes.identity(row.project_no, row.channel, row.external_user_id)
    }
}
