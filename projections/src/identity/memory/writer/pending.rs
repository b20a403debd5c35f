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
    last: HashTable<u32>,
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
        let kept = &self.kept;
        let hash = hashes.stream(stream);
        let of = |number: &u32| kept[*number as usize].stream;
        let known = self.last.find_mut(hash, |number| of(number) == stream);
        let before = match known {
            Some(last) => std::mem::replace(last, number),
            None => NONE,
        };
        if before == NONE {
            let hash_of =
                |other: &u32| hashes.stream(if *other == number { stream } else { of(other) });
            self.last.insert_unique(hash, number, hash_of);
        }
        self.kept.push(Kept {
            stream,
            thing,
            before,
        });
    }

    /// A bound identity of a stream.
    pub(super) fn linked(&mut self, hashes: &Hashes, stream: Uuid, key: Key) -> Option<&mut Thing> {
        let kept = &self.kept;
        let is_it = |number: &u32| kept[*number as usize].stream == stream;
        let mut next = *self.last.find(hashes.stream(stream), is_it)?;
        while let Some(kept) = self.kept.get(next as usize) {
            if kept.thing.kind == Kind::Linked && kept.thing.key == key {
                return self.kept.get_mut(next as usize).map(|kept| &mut kept.thing);
            }
            next = kept.before;
        }
        None
    }

    /// Everything of a stream.
    pub(super) fn take(&mut self, hashes: &Hashes, stream: Uuid) -> Vec<Thing> {
        let kept = &self.kept;
        let is_it = |number: &u32| kept[*number as usize].stream == stream;
        let mut things = Vec::new();
        let Ok(entry) = self.last.find_entry(hashes.stream(stream), is_it) else {
            return things;
        };
        let (mut next, _) = entry.remove();
        while let Some(kept) = self.kept.get(next as usize) {
            things.push(kept.thing);
            next = kept.before;
        }
        things
    }

    /// Everything that nobody came for.
    pub(super) fn rest(self) -> impl Iterator<Item = Thing> {
        let Self { kept, last } = self;
        last.into_iter().flat_map(move |mut next| {
            let mut things = Vec::new();
            while let Some(kept) = kept.get(next as usize) {
                things.push(kept.thing);
                next = kept.before;
            }
            things
        })
    }
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
        let mut taken = pending.take(&hashes, Uuid::from_u128(7));
        taken.sort_by_key(|thing| thing.key.place());
        let with_grant = Thing {
            grant: 5,
            ..thing(1_007)
        };
        assert_eq!(taken, [thing(7), with_grant, thing(2_007)]);
        assert!(pending.take(&hashes, Uuid::from_u128(7)).is_empty());
        assert_eq!(pending.rest().count(), 2_997);
    }
}
