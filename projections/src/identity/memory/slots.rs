//! Customers in slots, and what each has in chains of small nodes: identities, blocks and values, as halves of keys.

use std::sync::Arc;

use hashbrown::HashTable;
use roster_domain::access::Terms;
use uuid::Uuid;

use super::keys::{Hashes, Low};
use super::names::Names;

/// The end of a chain.
const NONE: u32 = u32::MAX;
/// Bits of a place that number the slot within its shard.
const SLOT_BITS: u32 = 26;

/// Bytes before a shared text.
const COUNTS: usize = 16;

/// Where a customer is: shard and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u32);

impl Place {
    /// # Panics
    /// Never within the most customers that are kept, which are fewer than the slots of one shard.
    pub(super) const fn new(shard: usize, slot: u32) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "there are fewer than 64 shards"
        )]
        Self(((shard as u32) << SLOT_BITS) | slot)
    }

    pub(super) const fn shard(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 & ((1 << SLOT_BITS) - 1)
    }
}

/// A grant, shared by all who have the same terms.
pub(super) struct Granted {
    pub(super) terms: Terms,
    pub(super) agents: Arc<[String]>,
}

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bound identity on the channel with the number.
    Linked,
    /// An identity that rules leave alone.
    Blocked,
    /// A value of the field with the number.
    Value,
}

/// One thing that a customer has.
pub(super) struct Node {
    pub(super) low: Low,
    next: u32,
    /// The number of the channel or field within the project.
    pub(super) name: u16,
    pub(super) kind: Kind,
    pub(super) grant: Option<Arc<Granted>>,
}

/// A customer. There are millions, so a byte here is one too many.
pub(super) struct Slot {
    pub(super) stream: Uuid,
    pub(super) names: Names,
    switches: Option<Box<Switches>>,
    /// The project, and in the lowest bit whether the customer may use anything: projects are numbered from 1.
    project: u32,
    first: u32,
}

/// Channels with an explicit switch. Few customers have any.
struct Switches(Box<[(u16, bool)]>);

impl Switches {
    /// Bytes on the heap.
    const fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.len() * size_of::<(u16, bool)>()
    }
}

impl Slot {
    pub(super) const fn project_no(&self) -> i32 {
        (self.project >> 1).cast_signed()
    }

    /// Whether the customer may use anything.
    pub(super) const fn is_enabled(&self) -> bool {
        self.project & 1 == 1
    }

    pub(super) fn switches(&self) -> &[(u16, bool)] {
        self.switches.as_deref().map_or(&[], |switches| &switches.0)
    }

    /// Bytes that it has elsewhere, besides its names.
    fn beside(&self) -> usize {
        COUNTS + self.switches.as_deref().map_or(0, Switches::bytes)
    }

    /// Whether a channel is on.
    pub(super) fn is_on(&self, channel: Option<u16>) -> bool {
        self.switches()
            .iter()
            .find(|(known, _)| Some(*known) == channel)
            .is_none_or(|(_, on)| *on)
    }
}

/// Some of the customers.
#[derive(Default)]
pub(super) struct Shard {
    slots: Vec<Option<Slot>>,
    free_slots: Vec<u32>,
    nodes: Vec<Node>,
    free_node: Option<u32>,
    by_stream: HashTable<u32>,
    /// Bytes of names.
    texts: usize,
    /// Bytes of switches, and of the counts that shared names have.
    beside: usize,
    pub(super) customers: usize,
}

impl Shard {
    pub(super) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The slot of a stream.
    pub(super) fn find(&self, hashes: &Hashes, stream: Uuid) -> Option<u32> {
        let is_it = |slot: &u32| self.slot(*slot).is_some_and(|found| found.stream == stream);
        self.by_stream.find(hashes.stream(stream), is_it).copied()
    }

    /// What a customer has.
    pub(super) fn nodes(&self, slot: &Slot) -> impl Iterator<Item = &Node> {
        let mut next = slot.first;
        std::iter::from_fn(move || {
            let node = self.nodes.get(next as usize)?;
            next = node.next;
            Some(node)
        })
    }

    /// Puts a customer into the slot of the stream, or a new one, in place of what was there.
    pub(super) fn put(&mut self, hashes: &Hashes, new: NewSlot) -> u32 {
        let known = self.find(hashes, new.stream);
        if let Some(slot) = known {
            self.clear_slot(slot);
        }
        let mut first = NONE;
        for node in new.nodes {
            first = self.push(node, first);
        }
        let stream = new.stream;
        let kept = Slot {
            stream,
            names: new.names,
            switches: new.switches.map(|switches| Box::new(Switches(switches))),
            project: (new.project_no.cast_unsigned() << 1) | u32::from(new.enabled),
            first,
        };
        self.texts += kept.names.bytes();
        self.beside += kept.beside();
        self.customers += 1;
        let kept = Some(kept);
        if let Some(slot) = known {
            self.slots[slot as usize] = kept;
            return slot;
        }
        let slot = if let Some(free) = self.free_slots.pop() {
            self.slots[free as usize] = kept;
            free
        } else {
            grow(&mut self.slots);
            self.slots.push(kept);
            index_of(self.slots.len() - 1)
        };
        let slots = &self.slots;
        let place = |slot: &u32| {
            let found = slots.get(*slot as usize).and_then(Option::as_ref);
            found.map_or(0, |found| hashes.stream(found.stream))
        };
        self.by_stream
            .insert_unique(hashes.stream(stream), slot, place);
        slot
    }

    /// What the row of a customer says, whose identities and values were known before it.
    pub(super) fn complete(
        &mut self,
        slot: u32,
        names: Names,
        enabled: bool,
        switches: Option<Box<[(u16, bool)]>>,
    ) {
        let Some(Some(kept)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        self.texts -= kept.names.bytes();
        self.beside -= kept.beside();
        kept.names = names;
        kept.project = (kept.project & !1) | u32::from(enabled);
        kept.switches = switches.map(|switches| Box::new(Switches(switches)));
        self.texts += kept.names.bytes();
        self.beside += kept.beside();
    }

    /// Takes a customer out.
    pub(super) fn remove(&mut self, hashes: &Hashes, slot: u32) {
        let Some(stream) = self.slot(slot).map(|found| found.stream) else {
            return;
        };
        if let Ok(entry) = self
            .by_stream
            .find_entry(hashes.stream(stream), |known| *known == slot)
        {
            entry.remove();
        }
        self.clear_slot(slot);
        self.free_slots.push(slot);
    }

    /// The slots of a project.
    pub(super) fn of_project(&self, project_no: i32) -> Vec<(u32, Uuid)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
            .filter(|(_, slot)| slot.project_no() == project_no)
            .map(|(number, slot)| (number, slot.stream))
            .collect()
    }

    /// One more thing that a customer has, unless it is there.
    pub(super) fn attach(&mut self, slot: u32, new: NewNode) {
        let Some(kept) = self.slot(slot) else {
            return;
        };
        let first = kept.first;
        let is_there = |node: &Node| node.kind == new.kind && node.low == new.low;
        if self.nodes(kept).any(is_there) {
            return;
        }
        let first = self.push(new, first);
        if let Some(Some(kept)) = self.slots.get_mut(slot as usize) {
            kept.first = first;
        }
    }

    /// The grant of a bound identity; without effect where it is not bound.
    pub(super) fn grant(&mut self, slot: u32, low: Low, granted: Arc<Granted>) {
        let mut next = self.slot(slot).map_or(NONE, |kept| kept.first);
        while let Some(node) = self.nodes.get_mut(next as usize) {
            if node.kind == Kind::Linked && node.low == low {
                node.grant = Some(granted);
                return;
            }
            next = node.next;
        }
    }

    /// Takes the values of some fields from everybody in a project; whose and which they were.
    pub(super) fn drop_values(&mut self, project_no: i32, fields: &[u16]) -> Vec<(u32, Low)> {
        let mut dropped = Vec::new();
        for slot in 0..index_of(self.slots.len()) {
            let Some(kept) = self
                .slot(slot)
                .filter(|kept| kept.project_no() == project_no)
            else {
                continue;
            };
            let is_dropped = |node: &Node| node.kind == Kind::Value && fields.contains(&node.name);
            if !self.nodes(kept).any(is_dropped) {
                continue;
            }
            let mut left = Vec::new();
            for node in self.nodes(kept) {
                if is_dropped(node) {
                    dropped.push((slot, node.low));
                } else {
                    left.push(NewNode {
                        low: node.low,
                        name: node.name,
                        kind: node.kind,
                        grant: node.grant.clone(),
                    });
                }
            }
            let old = kept.first;
            self.free_chain(old);
            let mut first = NONE;
            for node in left {
                first = self.push(node, first);
            }
            if let Some(Some(kept)) = self.slots.get_mut(slot as usize) {
                kept.first = first;
            }
        }
        dropped
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Slot>>()
            + self.nodes.capacity() * size_of::<Node>()
            + self.free_slots.capacity() * 4
            + self.by_stream.allocation_size()
            + self.beside
    }

    pub(super) const fn texts(&self) -> usize {
        self.texts
    }

    fn clear_slot(&mut self, slot: u32) {
        let Some(old) = self.slots[slot as usize].take() else {
            return;
        };
        self.customers -= 1;
        self.texts -= old.names.bytes();
        self.beside -= old.beside();
        self.free_chain(old.first);
    }

    fn free_chain(&mut self, first: u32) {
        let mut next = first;
        while let Some(node) = self.nodes.get_mut(next as usize) {
            let following = node.next;
            node.grant = None;
            node.next = self.free_node.unwrap_or(NONE);
            self.free_node = Some(next);
            next = following;
        }
    }

    fn push(&mut self, new: NewNode, next: u32) -> u32 {
        let node = Node {
            low: new.low,
            next,
            name: new.name,
            kind: new.kind,
            grant: new.grant,
        };
        if let Some(free) = self.free_node {
            let old = std::mem::replace(&mut self.nodes[free as usize], node);
            self.free_node = (old.next != NONE).then_some(old.next);
            free
        } else {
            grow(&mut self.nodes);
            self.nodes.push(node);
            index_of(self.nodes.len() - 1)
        }
    }
}

/// A customer who comes into a shard.
pub(super) struct NewSlot {
    pub(super) stream: Uuid,
    pub(super) project_no: i32,
    pub(super) names: Names,
    pub(super) enabled: bool,
    pub(super) switches: Option<Box<[(u16, bool)]>>,
    pub(super) nodes: Vec<NewNode>,
}

impl NewSlot {
    /// A customer of whom nothing is known yet.
    pub(super) fn unread(stream: Uuid, project_no: i32) -> Self {
        Self {
            stream,
            project_no,
            names: Names::unread(),
            enabled: false,
            switches: None,
            nodes: Vec::new(),
        }
    }
}

/// Something that the customer has.
#[derive(Clone)]
pub(super) struct NewNode {
    pub(super) low: Low,
    pub(super) name: u16,
    pub(super) kind: Kind,
    pub(super) grant: Option<Arc<Granted>>,
}

/// Grows by an eighth, where doubling would leave a third empty.
fn grow<T>(of: &mut Vec<T>) {
    if of.len() == of.capacity() {
        of.reserve_exact(of.len() / 8 + 32);
    }
}

fn index_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use super::{Node, Slot};

    #[test]
    fn a_customer_and_what_they_have_are_small() {
        assert_eq!(size_of::<Option<Slot>>(), 56);
        assert_eq!(size_of::<Node>(), 24);
    }
}
