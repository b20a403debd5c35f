//! Records of the customers of read tables, drawn beside the one who writes: most of the work of filling the memory is to read
//! profiles and to find what waits for a customer, and neither changes anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roster_domain::value::{Value, profile_members};
use roster_store::StoreError;
use uuid::Uuid;

use super::pending::Pending;
use super::{CustomerRow, Writer};
use crate::identity::memory::Memory;
use crate::identity::memory::names::Names;
use crate::identity::memory::record::{Kind, NO_GRANT, Record, Thing, Written};

/// Draws records.
pub(in crate::identity) struct Drawer {
    memory: Arc<Memory>,
    pending: Pending,
}

/// Records of customers who are not in memory yet.
#[derive(Default)]
pub(in crate::identity) struct Drawn {
    /// One record behind the other.
    words: Vec<u64>,
    /// The project of each, and how many words it has.
    records: Vec<(i32, usize)>,
    /// Rows with switches: these may be of channels that have no number yet, which only the one who writes gives.
    switched: Vec<Switched>,
    /// What the customer who is drawn has.
    things: Vec<Thing>,
}

/// A row that is kept as it is.
struct Switched {
    project_no: i32,
    stream: Uuid,
    customer_user_id: String,
    enabled: bool,
    switches: String,
    profile: String,
    things: Vec<Thing>,
}

impl Drawer {
    pub(super) const fn new(memory: Arc<Memory>, pending: Pending) -> Self {
        Self { memory, pending }
    }

    /// Draws a row of `view_customers`: of somebody who has an identity, or has a value that rules look up.
    pub(in crate::identity) fn draw(
        &self,
        row: &CustomerRow<'_>,
        drawn: &mut Drawn,
    ) -> Result<(), StoreError> {
        let hashes = &self.memory.hashes;
        drawn.things.clear();
        drawn.things.extend(self.pending.of(hashes, row.stream));
        let held = self.memory.projects.hold(row.project_no);
        let Some(project) = held.project() else {
            return Ok(());
        };
        if drawn.things.is_empty() && project.wanted().next().is_none() {
            return Ok(());
        }
        if let Some(switches) = row.switches {
            drawn.switched.push(Switched {
                project_no: row.project_no,
                stream: row.stream,
                customer_user_id: row.customer_user_id.to_owned(),
                enabled: row.enabled,
                switches: switches.to_owned(),
                profile: row.profile.to_owned(),
                things: drawn.things.clone(),
            });
            return Ok(());
        }
        let is_wanted =
            |name: &str| Names::are_of(name) || project.wanted().any(|(_, field)| field == name);
        let profile = profile_members(row.profile, is_wanted)
            .ok_or(StoreError::Malformed("copied profile"))?;
        for (number, field) in project.wanted() {
            if let Some(value) = profile.get(field).map(Value::as_text) {
                drawn.things.push(Thing {
                    key: hashes.value(row.project_no, field, value),
                    kind: Kind::Value,
                    name: number,
                    grant: NO_GRANT,
                });
            }
        }
        if drawn.things.is_empty() {
            return Ok(());
        }
        let written = Written {
            stream: row.stream,
            project_no: row.project_no,
            enabled: row.enabled,
            things: &drawn.things,
            names: &Names::kept(row.customer_user_id, &profile),
        };
        let size = written.push_to(&mut drawn.words);
        drawn.records.push((row.project_no, size));
        Ok(())
    }
}

impl Writer {
    /// Takes customers in who were drawn: of everyone the first time, so nothing of theirs is there.
    pub(in crate::identity) fn load_drawn(&mut self, drawn: &Drawn) -> Result<(), StoreError> {
        let mut rest = drawn.words.as_slice();
        for (project_no, size) in &drawn.records {
            let (words, after) = rest.split_at(*size);
            rest = after;
            self.load_record(*project_no, words);
        }
        for row in &drawn.switched {
            let things = &row.things;
            let row = CustomerRow {
                project_no: row.project_no,
                stream: row.stream,
                customer_user_id: &row.customer_user_id,
                enabled: row.enabled,
                switches: Some(&row.switches),
                profile: &row.profile,
            };
            self.load_customer(&row, things)?;
        }
        Ok(())
    }

    fn load_record(&mut self, project_no: i32, words: &[u64]) {
        let memory = Arc::clone(&self.memory);
        let held = memory.projects.hold(project_no);
        let is_out = held.project().is_some_and(|project| project.is_out);
        drop(held);
        let place = if is_out {
            None
        } else {
            self.room.put(&memory.space, words)
        };
        let Some(place) = place else {
            let words: Vec<AtomicU64> = words.iter().copied().map(AtomicU64::new).collect();
            let things: Vec<Thing> = Record::of(&words).things().collect();
            self.give_back(&things);
            if !is_out {
                self.leave_out(project_no);
            }
            return;
        };
        let record = Record::of(memory.space.words(place));
        self.memory
            .texts
            .fetch_add(record.text(), Ordering::Relaxed);
        self.streams.put(&memory.hashes, &memory.space, None, place);
        let (mut linked, mut pending) = (0, 0);
        for thing in record.things() {
            linked += usize::from(thing.kind == Kind::Linked);
            pending += usize::from(thing.kind != Kind::Value);
            if thing.kind.is_found() {
                let has = |other| Record::of(memory.space.words(other)).has(thing.kind, thing.key);
                memory.index(thing.kind).add(thing.key, place, has);
            }
        }
        self.count(project_no, 1 + linked, pending);
        self.make_room();
    }
}
