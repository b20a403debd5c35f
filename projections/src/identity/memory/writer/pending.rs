//! What customers have, by their streams, until their rows come: identities are read before customers, so that those whom
//! nothing finds never come in.

use hashbrown::HashTable;
use uuid::Uuid;

use crate::identity::memory::keys::{Hashes, Key};
use crate::identity::memory::record::{Kind, Thing};

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// The things of customers who did not come yet.
#[derive(Default)]
pub(super) struct Pending {
    kept: Vec<Kept>,
    /// The last thing of each stream.
    last: HashTable<Last>,
}

/// A thing by its number, with half of the hash of its stream, so that growing need not look at what is kept.
struct Last {
    half: u32,
    number: u32,
}

impl Last {
    fn hash(half: u32) -> u64 {
        // Tables place by the lowest and the highest bits.
        (u64::from(half) << 32) | u64::from(half)
    }
}

struct Kept {
    stream: Uuid,
    thing: Thing,
    /// Another one of the same stream.
    before: u32,
}

impl Pending {
    pub(super) fn add(&mut self, hashes: &Hashes, stream: Uuid, thing: Thing) {
        let Ok(number) = u32::try_from(self.kept.len()) else {
            return;
        };
        let half = half(hashes, stream);
        let is_it = is_of(&self.kept, stream, half);
        let known = self.last.find_mut(Last::hash(half), is_it);
        let before = match known {
            Some(last) => std::mem::replace(&mut last.number, number),
            None => NONE,
        };
        if before == NONE {
            let last = Last { half, number };
            let hash_of = |last: &Last| Last::hash(last.half);
            self.last.insert_unique(Last::hash(half), last, hash_of);
        }
        self.kept.push(Kept {
            stream,
            thing,
            before,
        });
    }

    /// A bound identity of a stream.
    pub(super) fn linked(&mut self, hashes: &Hashes, stream: Uuid, key: Key) -> Option<&mut Thing> {
        let half = half(hashes, stream);
        let is_it = is_of(&self.kept, stream, half);
        let mut next = self.last.find(Last::hash(half), is_it)?.number;
        while let Some(kept) = self.kept.get(next as usize) {
            if kept.thing.kind == Kind::Linked && kept.thing.key == key {
                return self.kept.get_mut(next as usize).map(|kept| &mut kept.thing);
            }
            next = kept.before;
        }
        None
    }

    /// How many streams there are things of.
    pub(super) fn streams(&self) -> usize {
        self.last.len()
    }

    /// Everything of a stream.
    pub(super) fn of(&self, hashes: &Hashes, stream: Uuid) -> impl Iterator<Item = Thing> {
        let half = half(hashes, stream);
        let is_it = is_of(&self.kept, stream, half);
        let last = self.last.find(Last::hash(half), is_it);
        let first = last.and_then(|last| self.kept.get(last.number as usize));
        std::iter::successors(first, move |kept| self.kept.get(kept.before as usize))
            .map(|kept| kept.thing)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is taken")]
fn half(hashes: &Hashes, stream: Uuid) -> u32 {
    hashes.stream(stream) as u32
}

fn is_of(kept: &[Kept], stream: Uuid, half: u32) -> impl Fn(&Last) -> bool {
    move |last| last.half == half && kept[last.number as usize].stream == stream
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Pending;
    use crate::identity::memory::keys::{Hashes, Key};
    use crate::identity::memory::record::{Kind, NO_GRANT, Thing};

    #[test]
    fn what_a_customer_has_waits_for_them() {
        let (hashes, mut pending) = (Hashes::new(), Pending::default());
        let thing = |number| Thing {
            key: Key::of([number, number]),
            kind: Kind::Linked,
            name: 0,
            grant: NO_GRANT,
        };
        for number in 0..3_000 {
            let stream = Uuid::from_u128(u128::from(number % 1_000));
            pending.add(&hashes, stream, thing(number));
        }
        let linked = |pending: &mut Pending, stream, number| {
            let linked = pending.linked(&hashes, Uuid::from_u128(stream), Key::of([number; 2]));
            linked.map(|thing| thing.grant = 5).is_some()
        };
        assert!(linked(&mut pending, 7, 1_007) && !linked(&mut pending, 7, 1_008));
        let of = |pending: &Pending, stream| -> Vec<Thing> {
            pending.of(&hashes, Uuid::from_u128(stream)).collect()
        };
        let mut taken = of(&pending, 7);
        taken.sort_by_key(|thing| thing.key.place());
        let with_grant = Thing {
            grant: 5,
            ..thing(1_007)
        };
        assert_eq!(taken, [thing(7), with_grant, thing(2_007)]);
        assert!(of(&pending, 1_007).is_empty());
        assert_eq!(pending.streams(), 1_000);
    }
}
