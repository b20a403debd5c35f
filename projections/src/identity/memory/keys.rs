//! Keys of the memory: 128 bits of a keyed hash (SipHash-1-3) instead of the texts, under a key of this process. Identities of a
//! channel, and values of a field, have a key of their own for it, which is such a hash of project and name: a look-up finds it with
//! the channel, and hashes the rest as it lies there.
//!
//! Two texts of one key would be taken for each other, so a key is as long as a guess is hopeless, and is of a keyed function:
//! nobody outside can look for two such texts, or for texts that crowd one part of a table.

use std::hash::{BuildHasher, RandomState};

use siphasher::sip128::SipHasher13;
use uuid::Uuid;

/// Names up to this many bytes, with what goes before them, are hashed without an allocation.
const SHORT: usize = 64;

/// What stands for an identity, or for a value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u64; 2]);

impl Key {
    /// The key that two words are of.
    pub(super) const fn of(words: [u64; 2]) -> Self {
        Self(words)
    }

    pub(super) const fn words(self) -> [u64; 2] {
        self.0
    }

    /// The half that tables place it by.
    pub(super) const fn place(self) -> u64 {
        self.0[0]
    }
}

/// The key of this process.
pub(super) struct Hashes {
    keys: SipHasher13,
    streams: RandomState,
}

impl Hashes {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self {
            keys: SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)),
            streams: RandomState::new(),
        }
    }

    /// What makes keys of the identities of a channel.
    pub(super) fn channel(&self, project_no: i32, name: &str) -> Named {
        self.named(0, project_no, name)
    }

    pub(super) fn identity(&self, project_no: i32, channel: &str, external_user_id: &str) -> Key {
        self.channel(project_no, channel).key(external_user_id)
    }

    pub(super) fn value(&self, project_no: i32, field: &str, value: &str) -> Key {
        self.named(1, project_no, field).key(value)
    }

    pub(super) fn stream(&self, stream: Uuid) -> u64 {
        self.streams.hash_one(stream.as_u128())
    }

    fn named(&self, kind: u8, project_no: i32, name: &str) -> Named {
        // Hashers take one run of bytes faster than several.
        let [a, b, c, d] = project_no.to_be_bytes();
        let head = [kind, a, b, c, d];
        let length = head.len() + name.len();
        let [one, other] = if length > SHORT {
            hash(&self.keys, &[&head, name.as_bytes()].concat())
        } else {
            let mut short = [0; SHORT];
            short[..head.len()].copy_from_slice(&head);
            short[head.len()..length].copy_from_slice(name.as_bytes());
            hash(&self.keys, &short[..length])
        };
        Named(SipHasher13::new_with_keys(one, other))
    }
}

/// What makes keys of the texts of one channel or field.
#[derive(Clone)]
pub(super) struct Named(SipHasher13);

impl Named {
    pub(super) fn key(&self, text: &str) -> Key {
        Key(hash(&self.0, text.as_bytes()))
    }
}

fn hash(keys: &SipHasher13, bytes: &[u8]) -> [u64; 2] {
    let hash = keys.hash(bytes);
    [hash.h1, hash.h2]
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
