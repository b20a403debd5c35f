//! Values of fields that rules name since a schema change: read from the tables while the log goes on.
//!
//! From the change on, events say what the values are; the tables say the rest. What an event said in between is newer, so it
//! is noted and left as it is.

use std::collections::HashSet;

use uuid::Uuid;

use super::Writer;
use crate::identity::memory::record::Kind;

/// Fields whose values are to be read.
#[derive(Clone, Debug)]
pub(in crate::identity) struct Refill {
    pub(in crate::identity) project_no: i32,
    /// The fields by number.
    pub(in crate::identity) fields: Vec<(u16, String)>,
    /// The tables must show this position.
    pub(in crate::identity) from: i64,
    /// Which wish it is: a later one of the same project replaces it.
    number: u64,
}

/// A refill that goes on.
pub(super) struct Refilling {
    number: u64,
    fields: Vec<u16>,
    touched: HashSet<(Uuid, u16)>,
}

impl Writer {
    /// What is to be read for the fields that are not filled.
    pub(super) fn wish(&mut self, project_no: i32, from: i64) -> Option<Refill> {
        let project = self.memory.projects.get(project_no)?;
        if project.is_out || project.is_filled() {
            self.refills.remove(&project_no);
            return None;
        }
        let fields: Vec<(u16, String)> = (0..)
            .zip(&project.fields)
            .filter(|(_, field)| field.is_wanted && !field.is_filled)
            .map(|(number, field)| (number, (*field.name).to_owned()))
            .collect();
        self.refilled += 1;
        let mut refilling = Refilling {
            number: self.refilled,
            fields: fields.iter().map(|(number, _)| *number).collect(),
            touched: HashSet::new(),
        };
        // What was noted for the wish before still counts for the fields of both.
        if let Some(before) = self.refills.remove(&project_no) {
            refilling.touched = before.touched;
        }
        self.refills.insert(project_no, refilling);
        Some(Refill {
            project_no,
            fields,
            from,
            number: self.refilled,
        })
    }

    /// An event said what the value of a field is, or with `None` of all.
    pub(super) fn touch(&mut self, project_no: i32, stream: Uuid, field: Option<u16>) {
        let Some(refilling) = self.refills.get_mut(&project_no) else {
            return;
        };
        let fields = refilling.fields.iter().copied();
        let touched = fields.filter(|own| field.is_none_or(|field| field == *own));
        refilling.touched.extend(touched.map(|own| (stream, own)));
    }

    /// What events said of fields that rules no longer name is gone.
    pub(super) fn untouch(&mut self, project_no: i32, fields: &[u16]) {
        if let Some(refilling) = self.refills.get_mut(&project_no) {
            refilling
                .touched
                .retain(|(_, field)| !fields.contains(field));
        }
    }

    /// Takes some values in while everything up to a position is applied; false where they are no longer wanted.
    pub(in crate::identity) fn refill(
        &mut self,
        refill: &Refill,
        values: &[(Uuid, u16, String)],
        position: i64,
    ) -> bool {
        let project_no = refill.project_no;
        let known = self.refills.get(&project_no);
        let Some(refilling) = known.filter(|known| known.number == refill.number) else {
            return false;
        };
        let new: Vec<&(Uuid, u16, String)> = values
            .iter()
            .filter(|(stream, field, _)| !refilling.touched.contains(&(*stream, *field)))
            .collect();
        for (stream, field, value) in new {
            let name = refill.fields.iter().find(|(number, _)| number == field);
            let Some((_, name)) = name else {
                continue;
            };
            let key = self.memory.hashes.value(project_no, name, value);
            let mut entry = self.entry(project_no, *stream);
            let mut draft = entry
                .new
                .take()
                .unwrap_or_else(|| self.unread(*stream, position));
            draft.add(Kind::Value, *field, key);
            entry.new = Some(draft);
            self.put(*stream, entry);
        }
        self.make_room();
        self.weigh();
        true
    }

    /// Everything was taken in: look-ups may ask for it.
    pub(in crate::identity) fn refilled(&mut self, refill: &Refill) {
        let known = self.refills.get(&refill.project_no);
        if known.is_none_or(|known| known.number != refill.number) {
            return;
        }
        self.refills.remove(&refill.project_no);
        self.edit(refill.project_no, |project| {
            for (number, _) in &refill.fields {
                if let Some(field) = project.fields.get_mut(usize::from(*number)) {
                    field.is_filled = true;
                }
            }
        });
    }
}
