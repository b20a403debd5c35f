//! The room that customers are kept in: chunks of words, each word an atomic one, so that readers need no lock.
//!
//! Who reads a record looks at the count of changes of its place before and after (a sequence lock): a record that was written
//! meanwhile is read again. The one who writes takes room from [`Room`] and gives it back there; what is given back is zeroed.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use super::pages::{PAGE, Words};

/// Words of a chunk: 16 MiB, of which those take memory that were written.
const CHUNK: usize = 8 * PAGE;
/// The most words of a record, with as many as lie before the first one.
const LARGEST: usize = 1 << 18;
/// The most chunks: places are 32 bits.
const CHUNKS: usize = (1 << 32) / CHUNK;
/// Counts of changes; each is of many places.
const COUNTS: usize = 256;
/// Records take multiples of so many words.
const STEP: usize = 2;
/// The first place that a record may have: the lower ones mean something else in an index.
const FIRST: usize = 8;
/// A free run is split where so many words are left over: fewer would be of use for nobody.
const WORTH: usize = 8;

/// Where a record begins: the number of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(pub(super) u32);

/// Every chunk.
pub(super) struct Space {
    chunks: Box<[OnceLock<Words>]>,
    /// Words from the first to the last that was ever taken.
    taken: AtomicUsize,
    /// Each odd while something at its places is written.
    changes: Box<[AtomicU64]>,
}

impl Space {
    pub(super) fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            taken: AtomicUsize::new(0),
            changes: (0..COUNTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Reads the words from a place to the end of its chunk; `None` where something there changed meanwhile. What `read` sees
    /// may be half of one record and half of another.
    pub(super) fn read<T>(&self, place: Place, read: impl FnOnce(&[AtomicU64]) -> T) -> Option<T> {
        let changes = self.changes(place);
        let before = changes.load(Ordering::Acquire);
        if before % 2 == 1 {
            return None;
        }
        let read = read(self.words(place));
        fence(Ordering::Acquire);
        (changes.load(Ordering::Relaxed) == before).then_some(read)
    }

    /// Words from a place to the end of its chunk. Only the one who writes may trust them.
    pub(super) fn words(&self, place: Place) -> &[AtomicU64] {
        let word = place.0 as usize;
        let chunk = self.chunks[word / CHUNK].get();
        chunk.map_or(&[], |chunk| &chunk[word % CHUNK..])
    }

    /// Zeroes everything.
    pub(super) fn clear(&self) {
        let places = (0..self.taken.load(Ordering::Relaxed)).step_by(STEP);
        for place in places.filter_map(|word| u32::try_from(word).ok()) {
            self.write(Place(place), &[], STEP);
        }
    }

    /// Bytes of the pages that were written to.
    pub(super) fn bytes(&self) -> usize {
        self.taken.load(Ordering::Relaxed).next_multiple_of(PAGE) * size_of::<u64>()
    }

    /// Writes words at a place, and zeros after them.
    fn write(&self, place: Place, words: &[u64], zeros: usize) {
        let changes = self.changes(place);
        let before = changes.load(Ordering::Relaxed);
        changes.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let zeros = std::iter::repeat_n(&0, zeros);
        for (kept, word) in self.words(place).iter().zip(words.iter().chain(zeros)) {
            kept.store(*word, Ordering::Relaxed);
        }
        changes.store(before + 2, Ordering::Release);
    }

    fn changes(&self, place: Place) -> &AtomicU64 {
        &self.changes[place.0 as usize / STEP % COUNTS]
    }
}

/// What is free of a space. Only the one who writes has it.
pub(super) struct Room {
    /// The word that was never taken yet.
    next: usize,
    /// Free runs by their words.
    free: BTreeMap<usize, Vec<Place>>,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            next: FIRST,
            free: BTreeMap::new(),
        }
    }

    /// Puts words where there is room; `None` where they are more than 2 MiB, or there is no room left.
    pub(super) fn put(&mut self, space: &Space, words: &[u64]) -> Option<Place> {
        let size = words.len().next_multiple_of(STEP);
        let place = self.take(size).or_else(|| self.open(space, size))?;
        space.write(place, words, 0);
        Some(place)
    }

    /// Puts words in place of others; where they come to lie.
    pub(super) fn replace(
        &mut self,
        space: &Space,
        place: Place,
        old: usize,
        words: &[u64],
    ) -> Option<Place> {
        if old.next_multiple_of(STEP) != words.len().next_multiple_of(STEP) {
            return self.put(space, words);
        }
        space.write(place, words, old.saturating_sub(words.len()));
        Some(place)
    }

    /// Gives the words at a place back.
    pub(super) fn give_back(&mut self, space: &Space, place: Place, words: usize) {
        let size = words.next_multiple_of(STEP);
        space.write(place, &[], size);
        self.free.entry(size).or_default().push(place);
    }

    /// A free run, the smallest that is large enough.
    fn take(&mut self, size: usize) -> Option<Place> {
        let exact = self.free.get(&size).map(|_| size);
        let found = exact.or_else(|| Some(*self.free.range(size + WORTH..).next()?.0))?;
        let runs = self.free.get_mut(&found)?;
        let place = runs.pop()?;
        if runs.is_empty() {
            self.free.remove(&found);
        }
        if found > size {
            let rest = place.0 + u32::try_from(size).ok()?;
            self.free.entry(found - size).or_default().push(Place(rest));
        }
        Some(place)
    }

    /// A run that was never taken.
    fn open(&mut self, space: &Space, size: usize) -> Option<Place> {
        let left = CHUNK - self.next % CHUNK;
        if size > LARGEST - FIRST {
            return None;
        }
        if size > left {
            let place = Place(u32::try_from(self.next).ok()?);
            self.free.entry(left).or_default().push(place);
            self.next += left;
        }
        let chunk = space.chunks.get(self.next / CHUNK)?;
        chunk.get_or_init(|| Words::new(CHUNK));
        let place = Place(u32::try_from(self.next).ok()?);
        self.next += size;
        space.taken.fetch_max(self.next, Ordering::Relaxed);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::{LARGEST, Room, Space};

    #[test]
    fn what_is_given_back_is_zeroed_and_taken_again() {
        let (space, mut room) = (Space::new(), Room::new());
        let words = |place, count: usize| -> Vec<u64> {
            let words = space.words(place).iter().take(count);
            words.map(|word| word.load(Ordering::Relaxed)).collect()
        };
        let one = room.put(&space, &[7; 13]).expect("room");
        let other = room.put(&space, &[8; 14]).expect("room");
        assert_eq!(words(one, 15), [[7; 13].as_slice(), &[0, 8]].concat());
        room.give_back(&space, one, 13);
        assert_eq!(words(one, 14), [0; 14]);
        assert_eq!(words(other, 14), [8; 14]);
        assert_eq!(room.put(&space, &[9; 14]), Some(one));
        // A shorter one of the same size stays where it is, a longer one moves.
        assert_eq!(room.replace(&space, one, 14, &[5; 13]), Some(one));
        assert_eq!(words(one, 14), [[5; 13].as_slice(), &[0]].concat());
        let moved = room.replace(&space, one, 13, &[6; 15]);
        assert!(moved.is_some_and(|moved| moved != one));
        // A long run is split.
        room.give_back(&space, other, 14);
        assert_eq!(room.put(&space, &[1; 4]), Some(other));
        assert!(room.put(&space, &vec![1; LARGEST]).is_none());
        assert!(room.put(&space, &vec![1; LARGEST - 100]).is_some());
        let bytes = space.bytes();
        space.clear();
        assert_eq!(
            (words(moved.expect("room"), 4), space.bytes()),
            (vec![0; 4], bytes)
        );
    }

    #[test]
    fn a_reader_sees_a_record_whole_or_not_at_all() {
        let (space, mut room) = (Space::new(), Room::new());
        let place = room.put(&space, &[0; 14]).expect("room");
        let (over, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let read = space.read(place, |words| {
                        let words = words.iter().take(14);
                        words
                            .map(|word| word.load(Ordering::Relaxed))
                            .collect::<Vec<_>>()
                    });
                    if let Some(words) = read {
                        seen.fetch_add(1, Ordering::Relaxed);
                        assert!(words.iter().all(|word| *word == words[0]));
                    }
                }
            });
            // Whoever reads may begin late on a busy machine.
            let mut turn = 0;
            while turn < 200_000 || seen.load(Ordering::Relaxed) == 0 {
                room.replace(&space, place, 14, &[turn; 14]);
                turn += 1;
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
