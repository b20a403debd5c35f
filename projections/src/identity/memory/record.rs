//! A customer as words: who it is, what they have, what they are called, one behind the other.
//!
//! ```text
//! stream | stream | project, things | lengths | things: key, key, what | id, display name, parts
//! ```
//!
//! So a look-up reads one place, two or three lines of memory that lie beside each other. A reader may see words that are
//! being written, so nothing here trusts a length.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::keys::Key;
use super::names::Names;

/// Words before the things.
const HEAD: usize = 4;
/// Words of a thing.
const THING: usize = 3;
/// Bits of the length of the id, and of the display name; the parts have one more. What is longer finds no room.
const LENGTH_BITS: u32 = 21;
/// Words of the lines of memory that most records lie in, wherever in a line they begin.
const AHEAD: [usize; 3] = [0, 8, 12];
/// No grant.
pub(super) const NO_GRANT: u32 = 0;

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bound identity on the channel with the number.
    Linked,
    /// An identity that rules leave alone.
    Blocked,
    /// A value of the field with the number.
    Value,
    /// The channel with the number is switched on.
    On,
    /// The channel with the number is switched off.
    Off,
}

/// One thing that a customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// The number of the channel or field within the project.
    pub(super) name: u16,
    /// The number of its grant, or [`NO_GRANT`].
    pub(super) grant: u32,
}

/// A customer who is kept.
#[derive(Clone, Copy)]
pub(super) struct Record<'a>(&'a [AtomicU64]);

/// What a record is made of.
pub(super) struct Written<'a> {
    pub(super) stream: Uuid,
    pub(super) project_no: i32,
    pub(super) enabled: bool,
    pub(super) things: &'a [Thing],
    pub(super) names: &'a Names,
}

impl Written<'_> {
    /// Adds the record to others; how many words it has.
    pub(super) fn push_to(&self, words: &mut Vec<u64>) -> usize {
        let start = words.len();
        let (high, low) = self.stream.as_u64_pair();
        let text = self.names.text();
        let project = (u64::from(self.project_no.cast_unsigned()) << 1) | u64::from(self.enabled);
        let [id, name, parts] = self.names.lengths().map(|length| length as u64);
        words.extend([
            high,
            low,
            (project << 32) | self.things.len() as u64,
            (parts << (2 * LENGTH_BITS)) | (name << LENGTH_BITS) | id,
        ]);
        for thing in self.things {
            let [one, other] = thing.key.words();
            let what = (u64::from(thing.grant) << 32) | (u64::from(thing.name) << 8);
            words.extend([one, other, what | thing.kind.number()]);
        }
        for piece in text.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            words.push(u64::from_le_bytes(bytes));
        }
        words.len() - start
    }
}

impl<'a> Record<'a> {
    /// The record that begins with the words.
    pub(super) const fn of(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// Begins to load the lines of memory of most records, all at once: who reads one word after another waits for each line.
    pub(super) fn fetch(self) {
        std::hint::black_box(AHEAD.map(|word| self.word(word)));
    }

    pub(super) fn stream(self) -> Uuid {
        Uuid::from_u64_pair(self.word(0), self.word(1))
    }

    pub(super) fn project_no(self) -> i32 {
        i32::try_from(self.word(2) >> 33).unwrap_or_default()
    }

    /// Whether the customer may use anything.
    pub(super) fn is_enabled(self) -> bool {
        self.word(2) >> 32 & 1 == 1
    }

    /// Whether the row was read: nobody's id is empty.
    pub(super) fn is_read(self) -> bool {
        self.lengths()[0] > 0
    }

    /// What the customer has.
    pub(super) fn things(self) -> impl Iterator<Item = Thing> + 'a {
        let (things, _) = self.0.get(HEAD..).unwrap_or_default().as_chunks::<THING>();
        things.iter().take(self.count()).filter_map(|words| {
            let [one, other, what] = words.each_ref().map(|word| word.load(Ordering::Relaxed));
            Some(Thing {
                key: Key::of([one, other]),
                kind: Kind::of(what & 0xff)?,
                name: u16::try_from(what >> 8 & 0xffff).unwrap_or_default(),
                grant: u32::try_from(what >> 32).unwrap_or_default(),
            })
        })
    }

    /// Whether the customer has something.
    pub(super) fn has(self, kind: Kind, key: Key) -> bool {
        let mut things = self.things();
        things.any(|thing| thing.key == key && thing.kind == kind)
    }

    /// Id and display name.
    pub(super) fn shown(self) -> Names {
        let [id, name, _] = self.lengths();
        self.names(id, name, 0)
    }

    /// Id, display name and what it is made of.
    pub(super) fn kept(self) -> Names {
        let [id, name, parts] = self.lengths();
        self.names(id, name, parts)
    }

    /// How many words it has.
    pub(super) fn size(self) -> usize {
        HEAD + self.count() * THING + self.text().div_ceil(8)
    }

    /// Bytes of names.
    pub(super) fn text(self) -> usize {
        self.lengths().iter().sum()
    }

    fn names(self, id: usize, name: usize, parts: usize) -> Names {
        let start = HEAD + self.count() * THING;
        let words = self.0.get(start..).unwrap_or_default();
        Names::of_words(words, id, name, parts)
    }

    fn lengths(self) -> [usize; 3] {
        let word = self.word(3);
        let mask = (1 << LENGTH_BITS) - 1;
        let lengths = [
            word & mask,
            word >> LENGTH_BITS & mask,
            word >> (2 * LENGTH_BITS),
        ];
        lengths.map(|length| usize::try_from(length).unwrap_or_default())
    }

    fn count(self) -> usize {
        usize::try_from(self.word(2) & u64::from(u32::MAX)).unwrap_or_default()
    }

    fn word(self, number: usize) -> u64 {
        let word = self.0.get(number);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl Kind {
    /// Whether customers are found by it.
    pub(super) const fn is_found(self) -> bool {
        matches!(self, Self::Linked | Self::Value)
    }

    pub(super) const fn is_switch(self) -> bool {
        matches!(self, Self::On | Self::Off)
    }

    const ALL: [Self; 5] = [
        Self::Linked,
        Self::Blocked,
        Self::Value,
        Self::On,
        Self::Off,
    ];

    /// From 1, so that zeros are nothing.
    const fn number(self) -> u64 {
        self as u64 + 1
    }

    fn of(number: u64) -> Option<Self> {
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use roster_domain::value::{Profile, Value};
    use uuid::Uuid;

    use super::{Kind, NO_GRANT, Record, Thing, Written};
    use crate::identity::memory::keys::Key;
    use crate::identity::memory::names::Names;

    #[test]
    fn a_record_says_what_was_written() {
        let profile = |name: &str| Profile::from([("name".into(), Value::Text(name.into()))]);
        let things: Vec<Thing> = (1..)
            .zip(Kind::ALL)
            .map(|(number, kind)| Thing {
                key: Key::of([number, u64::MAX - number]),
                kind,
                name: u16::MAX - 1,
                grant: if kind == Kind::Linked {
                    u32::MAX
                } else {
                    NO_GRANT
                },
            })
            .collect();
        for name in ["Ada", &"Ünï".repeat(400)] {
            for count in 0..=things.len() {
                let names = Names::kept("c1", &profile(name));
                let written = Written {
                    stream: Uuid::from_u128(u128::MAX - 7),
                    project_no: i32::MAX,
                    enabled: count % 2 == 0,
                    things: &things[..count],
                    names: &names,
                };
                let mut words = Vec::new();
                assert_eq!(written.push_to(&mut words), words.len());
                let words: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
                let record = Record::of(&words);
                assert_eq!(
                    (record.stream(), record.project_no()),
                    (written.stream, i32::MAX)
                );
                assert_eq!(
                    (record.is_enabled(), record.is_read()),
                    (count % 2 == 0, true)
                );
                assert_eq!(record.size(), words.len());
                let read: Vec<Thing> = record.things().collect();
                assert_eq!(read, things[..count]);
                let (shown, kept) = (record.shown(), record.kept());
                assert_eq!(
                    (shown.customer_user_id(), shown.display_name()),
                    ("c1", name)
                );
                assert_eq!(
                    (kept.text(), record.text()),
                    (names.text(), names.text().len())
                );
                // Half a record is read without harm.
                let half = Record::of(&words[..words.len() / 2]);
                assert!(
                    half.things().count() <= count
                        && half.shown().display_name().len() <= name.len()
                );
            }
        }
        assert!(!Record::of(&[]).is_read());
    }
}
