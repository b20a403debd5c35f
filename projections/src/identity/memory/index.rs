//! From a key to the place of the customer who has it: an entry is one word, half of the key beside the place, so that a look
//! is one line of memory and no lock.
//!
//! Half a key proves nothing, so who looks compares the whole key with what the customer has. Eight entries are a bucket; a key
//! is in its own bucket or, where that is full, in one of the next. What is not found counts only if no entry changed
//! meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::keys::Key;
use super::pages::{Pages, Run};
use super::space::Place;

/// Parts, which grow by themselves, so that none takes long.
const PARTS: usize = 64;
/// Entries of a bucket: those of a line of memory.
const ENTRIES: usize = 8;
/// Buckets of a part's first segment, as a power of two; each further segment doubles the part.
const FIRST: u32 = 2;
/// The most segments of a part.
const SEGMENTS: usize = 28;

/// No entry, and none behind it in the next buckets.
const EMPTY: u64 = 0;
/// The place of an entry that was taken out of a full bucket.
const GONE: u32 = 1;
/// The place of a key that more than one customer has.
const SEVERAL: u32 = 2;

/// Keys and their customers.
pub(super) struct Index {
    parts: Box<[Part]>,
    pages: Pages,
    /// Who has the keys of more than one customer.
    several: RwLock<HashMap<Key, HashSet<Place>>>,
}

/// Who has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    One(Place),
    Several,
    /// It changed while it was looked for.
    Moved,
}

#[derive(Default)]
struct Part {
    /// Moves with every change, and is odd while the part grows.
    changes: AtomicU64,
    /// A power of two, or none.
    buckets: AtomicUsize,
    segments: [OnceLock<Run>; SEGMENTS],
    /// Entries that are not empty.
    used: AtomicUsize,
}

/// A line of memory, as runs of whole buckets begin with one.
type Bucket = [AtomicU64; ENTRIES];

impl Index {
    pub(super) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            pages: Pages::default(),
            several: RwLock::default(),
        }
    }

    /// Who has a key. `has` says whether the customer at a place has it; `None` where that changes.
    pub(super) fn get(&self, key: Key, has: impl Fn(Place) -> Option<bool>) -> Holder {
        let part = self.part(key);
        let before = part.changes.load(Ordering::Acquire);
        if before % 2 == 1 {
            return Holder::Moved;
        }
        let found = part.find(key, |_, place| {
            if place.0 == SEVERAL {
                let is_it = self.several().contains_key(&key);
                return is_it.then_some(Holder::Several);
            }
            match has(place) {
                Some(true) => Some(Holder::One(place)),
                Some(false) => None,
                None => Some(Holder::Moved),
            }
        });
        fence(Ordering::Acquire);
        found.unwrap_or_else(|| {
            if part.changes.load(Ordering::Relaxed) == before {
                Holder::Nobody
            } else {
                Holder::Moved
            }
        })
    }

    /// One more customer has a key; `has` is as in [`Self::get`], for the one who writes.
    pub(super) fn add(&self, key: Key, to: Place, has: impl Fn(Place) -> bool) {
        let part = self.part(key);
        part.make_room(&self.pages);
        let shared = part.find(key, |entry, place| {
            if place.0 == SEVERAL {
                let mut several = self.several_mut();
                several.get_mut(&key)?.insert(to);
                return Some(());
            }
            if place != to && !has(place) {
                return None;
            }
            if place != to {
                self.several_mut().insert(key, HashSet::from([place, to]));
                part.set(entry, word(key, Place(SEVERAL)));
            }
            Some(())
        });
        if shared.is_none() {
            part.insert(word(key, to));
        }
    }

    /// A customer has a key no longer.
    pub(super) fn remove(&self, key: Key, from: Place) {
        let part = self.part(key);
        if part.remove(word(key, from)) {
            return;
        }
        let mut several = self.several_mut();
        let Some(holders) = several.get_mut(&key) else {
            return;
        };
        holders.remove(&from);
        let last = holders.iter().next().copied();
        if let Some(last) = last.filter(|_| holders.len() == 1) {
            several.remove(&key);
            // Not that of another key with the same half: any of them stands for every one.
            part.replace(word(key, Place(SEVERAL)), word(key, last));
        }
    }

    /// A customer who has a key is at another place.
    pub(super) fn replace(&self, key: Key, from: Place, to: Place) {
        if self.part(key).replace(word(key, from), word(key, to)) {
            return;
        }
        if let Some(holders) = self.several_mut().get_mut(&key)
            && holders.remove(&from)
        {
            holders.insert(to);
        }
    }

    pub(super) fn clear(&self) {
        for part in &self.parts {
            part.rebuild(
                &self.pages,
                part.buckets.load(Ordering::Relaxed),
                Vec::new(),
            );
        }
        self.several_mut().clear();
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let several = self.several();
        let holders: usize = several.values().map(|holders| holders.capacity() * 5).sum();
        let parts: usize = self.parts.iter().map(Part::bytes).sum();
        parts + several.capacity() * (size_of::<(Key, HashSet<Place>)>() + 1) + holders
    }

    fn part(&self, key: Key) -> &Part {
        // The other half of the word is in the entry.
        &self.parts[(key.place() >> 32) as usize % PARTS]
    }

    fn several(&self) -> RwLockReadGuard<'_, HashMap<Key, HashSet<Place>>> {
        self.several.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn several_mut(&self) -> RwLockWriteGuard<'_, HashMap<Key, HashSet<Place>>> {
        self.several.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Takes the entries with the half of a key, until one does.
    fn find<T>(&self, key: Key, mut take: impl FnMut(&AtomicU64, Place) -> Option<T>) -> Option<T> {
        let half = half(key);
        for bucket in self.from(half) {
            let words = bucket.each_ref().map(|entry| entry.load(Ordering::Acquire));
            // All are compared at once: which one it is no processor can guess.
            let mut hits = (0..).zip(words).fold(0_u32, |hits, (number, word)| {
                hits | (u32::from(half_of(word) == half) << number)
            });
            while hits != 0 {
                let number = hits.trailing_zeros() as usize;
                hits &= hits - 1;
                let place = place(words[number]);
                if place.0 > GONE
                    && let Some(taken) = take(&bucket[number], place)
                {
                    return Some(taken);
                }
            }
            if words.contains(&EMPTY) {
                break;
            }
        }
        None
    }

    /// The bucket of a half, and the others after it.
    fn from(&self, half: u32) -> impl Iterator<Item = &Bucket> {
        let buckets = self.buckets.load(Ordering::Acquire);
        let home = ((u64::from(half) * buckets as u64) >> 32) as usize;
        (0..buckets).filter_map(move |step| self.bucket((home + step) & (buckets - 1)))
    }

    fn bucket(&self, number: usize) -> Option<&Bucket> {
        let segment = usize::BITS - (number >> FIRST).leading_zeros();
        let start = if segment == 0 {
            0
        } else {
            1 << (FIRST + segment - 1)
        };
        let run = self.segments[segment as usize].get()?;
        run.as_chunks().0.get(number - start)
    }

    /// Puts an entry into its bucket, or the next one that is not full.
    fn insert(&self, word: u64) {
        for bucket in self.from(half_of(word)) {
            for entry in bucket {
                let known = entry.load(Ordering::Relaxed);
                if known == EMPTY || place(known).0 == GONE {
                    let used = self.used.load(Ordering::Relaxed);
                    self.used
                        .store(used + usize::from(known == EMPTY), Ordering::Relaxed);
                    self.set(entry, word);
                    return;
                }
            }
        }
    }

    fn remove(&self, word: u64) -> bool {
        for bucket in self.from(half_of(word)) {
            let is = |wanted: u64| {
                let mut entries = bucket.iter();
                entries.find(|entry| entry.load(Ordering::Relaxed) == wanted)
            };
            let ends_here = is(EMPTY).is_some();
            if let Some(entry) = is(word) {
                // What is behind a full bucket must be found still.
                if ends_here {
                    let used = self.used.load(Ordering::Relaxed);
                    self.used.store(used.saturating_sub(1), Ordering::Relaxed);
                    self.set(entry, EMPTY);
                } else {
                    self.set(entry, u64::from(GONE));
                }
                return true;
            }
            if ends_here {
                break;
            }
        }
        false
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        for bucket in self.from(half_of(old)) {
            let mut ends_here = false;
            for entry in bucket {
                let known = entry.load(Ordering::Relaxed);
                ends_here |= known == EMPTY;
                if known == old {
                    self.set(entry, new);
                    return true;
                }
            }
            if ends_here {
                break;
            }
        }
        false
    }

    fn set(&self, entry: &AtomicU64, word: u64) {
        entry.store(word, Ordering::Release);
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes + 2, Ordering::Release);
    }

    /// Room for one more: at most three quarters are used.
    fn make_room(&self, pages: &Pages) {
        let buckets = self.buckets.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed);
        if (used + 1) * 4 <= buckets * ENTRIES * 3 {
            return;
        }
        let numbers = 0..buckets;
        let entries = numbers.filter_map(|number| self.bucket(number)).flatten();
        let words: Vec<u64> = entries
            .map(|entry| entry.load(Ordering::Relaxed))
            .filter(|word| place(*word).0 > GONE)
            .collect();
        // Half of what is used may be of those who are gone.
        let is_full = words.len() * 2 >= used;
        let grown = if is_full { buckets * 2 } else { buckets };
        self.rebuild(pages, grown.max(1 << FIRST), words);
    }

    /// Puts entries into so many buckets, in place of all that there were.
    fn rebuild(&self, pages: &Pages, buckets: usize, words: Vec<u64>) {
        let before = self.changes.load(Ordering::Relaxed);
        self.changes.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.used.store(0, Ordering::Relaxed);
        let mut had = 0;
        for (number, segment) in (0..).zip(&self.segments) {
            let size = 1 << (FIRST + number).saturating_sub(u32::from(number > 0));
            if had < buckets {
                for entry in segment.get_or_init(|| pages.run(size * ENTRIES)).iter() {
                    entry.store(EMPTY, Ordering::Relaxed);
                }
                had += size;
            }
        }
        self.buckets.store(buckets, Ordering::Release);
        // An even number of changes comes only with the last: whoever looks meanwhile looks again.
        self.changes.store(before + 1, Ordering::Release);
        for word in words {
            self.insert(word);
        }
        let after = self.changes.load(Ordering::Relaxed);
        self.changes.store(after + 1, Ordering::Release);
    }

    fn bytes(&self) -> usize {
        self.buckets.load(Ordering::Relaxed) * size_of::<Bucket>()
    }
}

/// The half of a key that an entry has.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is taken")]
const fn half(key: Key) -> u32 {
    key.place() as u32
}

const fn word(key: Key, place: Place) -> u64 {
    ((half(key) as u64) << 32) | place.0 as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is taken")]
const fn place(word: u64) -> Place {
    Place(word as u32)
}

const fn half_of(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{HashMap, HashSet};

    use super::{Holder, Index};
    use crate::identity::memory::keys::{Hashes, Key};
    use crate::identity::memory::space::Place;

    /// Who has what, as the customers themselves would say.
    #[derive(Default)]
    struct Known(RefCell<HashMap<Place, HashSet<Key>>>);

    impl Known {
        fn has(&self, place: Place, key: Key) -> bool {
            let known = self.0.borrow();
            known.get(&place).is_some_and(|keys| keys.contains(&key))
        }

        fn add(&self, index: &Index, key: Key, place: Place) {
            self.0.borrow_mut().entry(place).or_default().insert(key);
            index.add(key, place, |other| self.has(other, key));
        }

        fn remove(&self, index: &Index, key: Key, place: Place) {
            if let Some(keys) = self.0.borrow_mut().get_mut(&place) {
                keys.remove(&key);
            }
            index.remove(key, place);
        }

        fn get(&self, index: &Index, key: Key) -> Holder {
            index.get(key, |place| Some(self.has(place, key)))
        }
    }

    #[test]
    fn a_key_has_nobody_one_or_several_as_customers_come_and_go() {
        let (index, known) = (Index::new(), Known::default());
        let key = Hashes::new().value(1, "phone", "+49");
        let [a, b, c] = [11, 12, 13].map(Place);
        assert_eq!(known.get(&index, key), Holder::Nobody);
        known.add(&index, key, a);
        known.add(&index, key, a);
        assert_eq!(known.get(&index, key), Holder::One(a));
        known.add(&index, key, b);
        known.add(&index, key, c);
        assert_eq!(known.get(&index, key), Holder::Several);
        known.remove(&index, key, a);
        assert_eq!(known.get(&index, key), Holder::Several);
        index.replace(key, c, a);
        known.0.borrow_mut().insert(a, HashSet::from([key]));
        known.remove(&index, key, b);
        assert_eq!(known.get(&index, key), Holder::One(a));
        known.remove(&index, key, b);
        known.remove(&index, key, a);
        assert_eq!(known.get(&index, key), Holder::Nobody);
    }

    #[test]
    fn many_keys_come_and_go_and_stay_found() {
        let (index, hashes, known) = (Index::new(), Hashes::new(), Known::default());
        let key = |number: u32| hashes.identity(1, "sms", &number.to_string());
        for round in 0..4 {
            for number in 0..20_000 {
                known.add(&index, key(number), Place(8 + number));
            }
            for number in (0..20_000).filter(|number| number % 4 != round) {
                known.remove(&index, key(number), Place(8 + number));
            }
        }
        for number in 0..20_000 {
            let expected = if number % 4 == 3 {
                Holder::One(Place(8 + number))
            } else {
                Holder::Nobody
            };
            assert_eq!(known.get(&index, key(number)), expected);
        }
        assert!(index.bytes() < 20_000 * 64, "who is gone takes no room");
        index.clear();
        assert_eq!(known.get(&index, key(3)), Holder::Nobody);
    }

    #[test]
    fn keys_of_the_same_half_are_told_apart() {
        let (index, known) = (Index::new(), Known::default());
        let keys = [1, 2, 3].map(|other| Key::of([7, other]));
        for (number, key) in (20..).zip(keys) {
            known.add(&index, key, Place(number));
        }
        known.add(&index, keys[0], Place(30));
        known.add(&index, keys[1], Place(31));
        let seen = keys.map(|key| known.get(&index, key));
        assert_eq!(
            seen,
            [Holder::Several, Holder::Several, Holder::One(Place(22))]
        );
        known.remove(&index, keys[0], Place(20));
        let seen = keys.map(|key| known.get(&index, key));
        assert_eq!(
            seen,
            [
                Holder::One(Place(30)),
                Holder::Several,
                Holder::One(Place(22))
            ]
        );
    }

    #[test]
    fn what_changes_is_looked_for_again() {
        let index = Index::new();
        let key = Key::of([7, 7]);
        index.add(key, Place(20), |_| true);
        assert_eq!(index.get(key, |_| None), Holder::Moved);
        // The customer went elsewhere after the entry was read.
        let holder = index.get(key, |place| {
            index.replace(key, place, Place(21));
            Some(false)
        });
        assert_eq!(holder, Holder::Moved);
        assert_eq!(index.get(key, |_| Some(true)), Holder::One(Place(21)));
    }
}
