//! One customer while a page changes them.

use std::collections::HashMap;

use uuid::Uuid;

use super::keys::{Key, Low};
use super::names::Names;
use super::slots::{Kind, NewNode, NewSlot, Place, Shard, Slot};

/// The customers whom a page changes.
pub(super) type Drafts = HashMap<Uuid, Entry>;

/// A customer before and after.
pub(super) struct Entry {
    pub(super) project_no: i32,
    pub(super) old: Option<Old>,
    /// `None` where there is nobody.
    pub(super) new: Option<Draft>,
}

/// What the indexes have of a customer before the page.
pub(super) struct Old {
    pub(super) place: Place,
    pub(super) nodes: Vec<(Kind, Low)>,
}

/// A customer as they will be.
pub(super) struct Draft {
    pub(super) names: Names,
    pub(super) enabled: bool,
    pub(super) switches: Vec<(u16, bool)>,
    pub(super) nodes: Vec<DraftNode>,
}

/// Something that the customer will have; with a key where it is new.
pub(super) struct DraftNode {
    pub(super) node: NewNode,
    pub(super) key: Option<Key>,
}

impl Entry {
    /// Of a customer who is kept.
    pub(super) fn of(shard: &Shard, place: Place, slot: &Slot) -> Self {
        let nodes: Vec<DraftNode> = shard
            .nodes(slot)
            .map(|node| DraftNode {
                node: NewNode {
                    low: node.low,
                    name: node.name,
                    kind: node.kind,
                    grant: node.grant.clone(),
                },
                key: None,
            })
            .collect();
        Self {
            project_no: slot.project_no(),
            old: Some(Old {
                place,
                nodes: nodes
                    .iter()
                    .map(|own| (own.node.kind, own.node.low))
                    .collect(),
            }),
            new: Some(Draft {
                names: slot.names.clone(),
                enabled: slot.is_enabled(),
                switches: slot.switches().to_vec(),
                nodes,
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
    pub(super) fn lost(&self) -> impl Iterator<Item = (Kind, Low)> {
        let old = self.old.iter().flat_map(|old| &old.nodes).copied();
        old.filter(|(kind, low)| {
            let new = self.new.as_ref();
            *kind != Kind::Blocked && !new.is_some_and(|new| new.has(*kind, *low))
        })
    }

    /// What the indexes gain.
    pub(super) fn gained(&self) -> impl Iterator<Item = (Kind, Key)> {
        let new = self.new.iter().flat_map(|new| &new.nodes);
        new.filter(|own| own.node.kind != Kind::Blocked)
            .filter_map(|own| Some((own.node.kind, own.key?)))
    }
}

impl Draft {
    /// Of a customer whose row is still to be read.
    pub(super) fn unread() -> Self {
        Self {
            names: Names::unread(),
            enabled: false,
            switches: Vec::new(),
            nodes: Vec::new(),
        }
    }

    pub(super) fn switch(&mut self, channel: u16, is_on: bool) {
        self.switches.retain(|(known, _)| *known != channel);
        self.switches.push((channel, is_on));
    }

    pub(super) fn add(&mut self, kind: Kind, name: u16, key: Key) {
        if !self.has(kind, key.low()) {
            self.nodes.push(DraftNode {
                node: NewNode {
                    low: key.low(),
                    name,
                    kind,
                    grant: None,
                },
                key: Some(key),
            });
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, low: Low) {
        self.nodes
            .retain(|own| own.node.kind != kind || own.node.low != low);
    }

    /// Takes the value of a field.
    pub(super) fn clear(&mut self, field: u16) {
        self.nodes
            .retain(|own| own.node.kind != Kind::Value || own.node.name != field);
    }

    /// The bound identity.
    pub(super) fn linked(&mut self, low: Low) -> Option<&mut NewNode> {
        let nodes = self.nodes.iter_mut().map(|own| &mut own.node);
        nodes
            .filter(|node| node.kind == Kind::Linked)
            .find(|node| node.low == low)
    }

    pub(super) fn has(&self, kind: Kind, low: Low) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|own| own.node.kind == kind && own.node.low == low)
    }

    /// Customers and identities that it counts as.
    pub(super) fn size(&self) -> usize {
        let nodes = self.nodes.iter();
        1 + nodes.filter(|own| own.node.kind == Kind::Linked).count()
    }

    pub(super) fn into_slot(self, stream: Uuid, project_no: i32) -> NewSlot {
        NewSlot {
            stream,
            project_no,
            names: self.names,
            enabled: self.enabled,
            switches: (!self.switches.is_empty()).then(|| self.switches.into()),
            nodes: self.nodes.into_iter().map(|own| own.node).collect(),
        }
    }
}

impl Old {
    /// Customers and identities that it counts as.
    pub(super) fn size(&self) -> usize {
        let nodes = self.nodes.iter();
        1 + nodes.filter(|(kind, _)| *kind == Kind::Linked).count()
    }
}
