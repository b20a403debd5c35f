//! Keys of the memory: 128 bits of two keyed hashes (SipHash-1-3) instead of the texts, under keys of this process.

use std::hash::{BuildHasher, Hasher, RandomState};

use uuid::Uuid;

/// Texts up to this many bytes, with what goes before them, are hashed without an allocation.
const SHORT: usize = 128;

/// What stands for an identity, or for a value of a field.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    low: [u32; 2],
    high: [u32; 2],
}

/// The half of a key that a customer's own entries have.
pub(super) type Low = [u32; 2];

impl Key {
    pub(super) const fn low(self) -> Low {
        self.low
    }

    /// What tables place it by.
    pub(super) const fn place(self) -> u64 {
        place(self.low)
    }
}

/// What tables place a key by.
pub(super) const fn place(low: Low) -> u64 {
    ((low[0] as u64) << 32) | low[1] as u64
}

const fn halves(hash: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken")]
    [(hash >> 32) as u32, hash as u32]
}

/// The keys of this process: nobody outside can tell which texts share a place.
pub(super) struct Hashes {
    one: RandomState,
    other: RandomState,
}

impl Hashes {
    pub(super) fn new() -> Self {
        Self {
            one: RandomState::new(),
            other: RandomState::new(),
        }
    }

    pub(super) fn identity(&self, project_no: i32, channel: &str, external_user_id: &str) -> Key {
        self.key(0, project_no, channel, external_user_id)
    }

    pub(super) fn value(&self, project_no: i32, field: &str, value: &str) -> Key {
        self.key(1, project_no, field, value)
    }

    pub(super) fn stream(&self, stream: Uuid) -> u64 {
        self.one.hash_one(stream.as_u128())
    }

    fn key(&self, kind: u8, project_no: i32, name: &str, text: &str) -> Key {
        // Hashers take one run of bytes faster than several. 0xff ends the name, as no UTF-8 has it.
        let [a, b, c, d] = project_no.to_be_bytes();
        let parts = [
            &[kind, a, b, c, d],
            name.as_bytes(),
            &[0xff],
            text.as_bytes(),
        ];
        let mut short = [0; SHORT];
        let mut rest = short.as_mut_slice();
        for part in parts {
            let Some((place, after)) = rest.split_at_mut_checked(part.len()) else {
                return self.of_bytes(&parts.concat());
            };
            place.copy_from_slice(part);
            rest = after;
        }
        let length = SHORT - rest.len();
        self.of_bytes(&short[..length])
    }

    fn of_bytes(&self, bytes: &[u8]) -> Key {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(bytes);
            halves(hasher.finish())
        };
        Key {
            low: half(&self.one),
            high: half(&self.other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Hashes, Key};

    #[test]
    fn a_key_is_of_kind_project_name_and_text() {
        let hashes = Hashes::new();
        let keys: Vec<Key> = vec![
            hashes.identity(1, "sms", "+49"),
            hashes.identity(2, "sms", "+49"),
            hashes.identity(1, "sm", "s+49"),
            hashes.value(1, "sms", "+49"),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(keys[..place].iter().all(|earlier| earlier != key));
        }
        assert!(hashes.identity(1, "sms", "+49") == keys[0]);
        let long = "9".repeat(1_000);
        assert!(hashes.identity(1, "sms", &long) == hashes.identity(1, "sms", &long));
        assert!(hashes.identity(1, "sms", &long) != hashes.identity(1, "sms", &long[1..]));
        assert!(Hashes::new().identity(1, "sms", "+49") != keys[0]);
    }
}
