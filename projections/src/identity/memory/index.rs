//! From a key to the customers who have it: almost always one, so that an entry is a key and a number.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use roster_domain::access::Hits;

use super::keys::{Key, Low, place};
use super::slots::Place;

/// Parts that are locked by themselves. No power of two, so that the parts, which grow by doubling, fill up at different
/// numbers of entries than one table would.
const PARTS: u64 = 48;

/// Keys and their customers.
pub(super) struct Index {
    parts: Vec<RwLock<Part>>,
}

#[derive(Default)]
struct Part {
    entries: HashTable<Entry>,
    /// Keys of more than one customer.
    several: HashMap<Key, HashSet<Place>>,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    to: Place,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Who has a key.
    pub(super) fn get(&self, key: Key) -> Hits<Place> {
        let part = self.read(key.low());
        if let Some(entry) = part.entries.find(key.place(), |entry| entry.key == key) {
            return Hits::One(entry.to);
        }
        if !part.several.is_empty() && part.several.contains_key(&key) {
            return Hits::Several;
        }
        Hits::None
    }

    /// One more customer has a key.
    pub(super) fn add(&self, key: Key, to: Place) {
        let mut part = self.write(key.low());
        let Part { entries, several } = &mut *part;
        if let Some(holders) = several.get_mut(&key) {
            holders.insert(to);
            return;
        }
        match entries.find_entry(key.place(), |entry| entry.key == key) {
            Ok(entry) if entry.get().to == to => {}
            Ok(entry) => {
                let (Entry { to: first, .. }, _) = entry.remove();
                several.insert(key, HashSet::from([first, to]));
            }
            Err(_) => {
                entries.insert_unique(key.place(), Entry { key, to }, |entry| entry.key.place());
            }
        }
    }

    /// A customer no longer has a key, of which it knows the half.
    pub(super) fn remove(&self, low: Low, to: Place) {
        let mut part = self.write(low);
        let Part { entries, several } = &mut *part;
        let is_it = |entry: &Entry| entry.to == to && entry.key.low() == low;
        if let Ok(entry) = entries.find_entry(place(low), is_it) {
            entry.remove();
            return;
        }
        let shared = several
            .iter_mut()
            .find(|(key, holders)| key.low() == low && holders.contains(&to));
        let Some((key, holders)) = shared else {
            return;
        };
        holders.remove(&to);
        let key = *key;
        let last = (holders.len() == 1).then(|| holders.iter().next().copied());
        if let Some(Some(last)) = last {
            several.remove(&key);
            let entry = Entry { key, to: last };
            entries.insert_unique(key.place(), entry, |entry| entry.key.place());
        }
    }

    pub(super) fn clear(&self) {
        for part in &self.parts {
            *part.write().unwrap_or_else(PoisonError::into_inner) = Part::default();
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let of = |part: &RwLock<Part>| {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            let holders: usize = part
                .several
                .values()
                .map(|holders| holders.capacity() * 8)
                .sum();
            part.entries.allocation_size() + part.several.capacity() * 72 + holders
        };
        self.parts.iter().map(of).sum()
    }

    fn part(&self, low: Low) -> &RwLock<Part> {
        // The table of a part takes the other bits.
        let number = (u64::from(low[1]).wrapping_mul(PARTS) >> 32) as usize;
        &self.parts[number]
    }

    fn read(&self, low: Low) -> RwLockReadGuard<'_, Part> {
        let part = self.part(low).read();
        part.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, low: Low) -> RwLockWriteGuard<'_, Part> {
        let part = self.part(low).write();
        part.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::access::Hits;

    use super::Index;
    use crate::identity::memory::keys::Hashes;
    use crate::identity::memory::slots::Place;

    #[test]
    fn a_key_has_nobody_one_or_several_as_customers_come_and_go() {
        let (index, hashes) = (Index::new(), Hashes::new());
        let key = hashes.value(1, "phone", "+49");
        let [a, b, c] = [1, 2, 3].map(|slot| Place::new(5, slot));
        assert_eq!(index.get(key), Hits::None);
        index.add(key, a);
        index.add(key, a);
        assert_eq!(index.get(key), Hits::One(a));
        index.add(key, b);
        index.add(key, c);
        assert_eq!(index.get(key), Hits::Several);
        index.remove(key.low(), a);
        assert_eq!(index.get(key), Hits::Several);
        index.remove(key.low(), b);
        assert_eq!(index.get(key), Hits::One(c));
        index.remove(key.low(), b);
        index.remove(key.low(), c);
        assert_eq!(index.get(key), Hits::None);
    }
}
