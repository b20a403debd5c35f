//! Keys: the key-encryption key outside Postgres, the data keys that it wraps, and sealing with them.
//!
//! AES-256-GCM-SIV (RFC 8452): a command that is decided again reuses the version that is its nonce, and that must not be fatal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use uuid::Uuid;

/// Bytes of a nonce.
const NONCE: usize = 12;

/// A key could not be read or does not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VaultError {
    /// The text is not lines of `number:64 hexadecimal digits`.
    #[error(
        "the key file must hold 64 hexadecimal digits, or lines of number:64 hexadecimal digits"
    )]
    BadKeyFile,
    /// The database was sealed under another key.
    #[error("the key-encryption key {0} is not the one that this database was sealed with")]
    WrongKey(i16),
    /// A key number that this server was not given.
    #[error("the key-encryption key {0} is in use by this database and is not configured")]
    MissingKey(i16),
    /// Sealed bytes do not open: they were changed, or belong elsewhere.
    #[error("sealed bytes do not open")]
    Damaged,
}

/// The key-encryption keys of this server, by number.
///
/// Which of them are in use is the database's to say (`key_checks`): the highest one wraps new keys. Until it has been asked,
/// all are taken to be. So a server may be given a coming key before anything is wrapped with it.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<BTreeMap<i16, KeyEncryptionKey>>,
    in_use: Arc<InUse>,
}

/// The lowest and the highest number in use. Clones of a vault share them.
struct InUse {
    oldest: AtomicI16,
    current: AtomicI16,
}

#[derive(Clone)]
struct KeyEncryptionKey {
    cipher: Aes256GcmSiv,
    bytes: [u8; 32],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Vault")
            .field("keys", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

/// A data key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrappedKey {
    pub(crate) key_no: i16,
    pub(crate) bytes: Vec<u8>,
}

impl Vault {
    /// Reads 64 hexadecimal digits (key number 1), or one `number:digits` a line.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let mut keys = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (number, digits) = line.split_once(':').unwrap_or(("1", line));
            let number: i16 = number.trim().parse().map_err(|_| VaultError::BadKeyFile)?;
            let bytes = from_hex(digits.trim()).ok_or(VaultError::BadKeyFile)?;
            let cipher = Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(bytes));
            keys.insert(number, KeyEncryptionKey { cipher, bytes });
        }
        Self::of(keys)
    }

    fn of(keys: BTreeMap<i16, KeyEncryptionKey>) -> Result<Self, VaultError> {
        let (Some((oldest, _)), Some((current, _))) =
            (keys.first_key_value(), keys.last_key_value())
        else {
            return Err(VaultError::BadKeyFile);
        };
        let in_use = InUse {
            oldest: AtomicI16::new(*oldest),
            current: AtomicI16::new(*current),
        };
        Ok(Self {
            keys: Arc::new(keys),
            in_use: Arc::new(in_use),
        })
    }

    /// The same keys, and the newest one of another vault under a number.
    pub fn with_newest_of(&self, other: &Self, number: i16) -> Result<Self, VaultError> {
        let mut keys = BTreeMap::clone(&self.keys);
        if let Some((_, newest)) = other.keys.last_key_value() {
            keys.insert(number, newest.clone());
        }
        Self::of(keys)
    }

    /// The numbers of the configured keys, in order.
    pub fn numbers(&self) -> Vec<i16> {
        self.keys.keys().copied().collect()
    }

    /// The number of the key that wraps new keys.
    pub fn current(&self) -> i16 {
        self.in_use.current.load(Ordering::Acquire)
    }

    /// Takes what the database says: these numbers are in use. Those that are not configured are left out.
    pub(crate) fn adopt(&self, numbers: &[i16]) {
        let known = || {
            numbers
                .iter()
                .copied()
                .filter(|number| self.keys.contains_key(number))
        };
        if let (Some(oldest), Some(current)) = (known().min(), known().max()) {
            self.in_use.oldest.store(oldest, Ordering::Release);
            self.in_use.current.store(current, Ordering::Release);
        }
    }

    /// A secret for another purpose, derived from the oldest key in use, as hexadecimal: stable until that key is retired.
    pub fn derive(&self, purpose: &str) -> String {
        self.derive_from(self.in_use.oldest.load(Ordering::Acquire), purpose)
    }

    /// The same secret as another key gives it.
    pub(crate) fn derive_from(&self, key_no: i16, purpose: &str) -> String {
        let bytes = self.keys.get(&key_no).map_or([0; 32], |key| key.bytes);
        to_hex(&KeyedHash::new(&bytes).of(&[b"derive\0", purpose.as_bytes()]))
    }

    pub(crate) fn wrap(&self, about: &[u8], secret: &[u8; 32]) -> WrappedKey {
        self.wrap_under(self.current(), about, secret)
    }

    pub(crate) fn wrap_under(&self, key_no: i16, about: &[u8], secret: &[u8; 32]) -> WrappedKey {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = self
            .keys
            .get(&key_no)
            .and_then(|key| encrypt(&key.cipher, &nonce, about, secret))
            .unwrap_or_default();
        WrappedKey {
            key_no,
            bytes: [nonce.as_slice(), &sealed].concat(),
        }
    }

    pub(crate) fn unwrap(
        &self,
        about: &[u8],
        key_no: i16,
        wrapped: &[u8],
    ) -> Result<[u8; 32], VaultError> {
        let key = self
            .keys
            .get(&key_no)
            .ok_or(VaultError::MissingKey(key_no))?;
        let (nonce, sealed) = wrapped.split_at_checked(NONCE).ok_or(VaultError::Damaged)?;
        let plain =
            decrypt(&key.cipher, nonce, about, sealed).ok_or(VaultError::WrongKey(key_no))?;
        plain.try_into().map_err(|_| VaultError::Damaged)
    }

    pub(crate) fn mint(&self, stream: Uuid) -> (DataKey, WrappedKey) {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        (DataKey::new(secret), self.wrap(stream.as_bytes(), &secret))
    }

    pub(crate) fn open_key(
        &self,
        stream: Uuid,
        key_no: i16,
        wrapped: &[u8],
    ) -> Result<DataKey, VaultError> {
        self.unwrap(stream.as_bytes(), key_no, wrapped)
            .map(DataKey::new)
    }
}

/// The key of one stream.
#[derive(Clone)]
pub struct DataKey {
    cipher: Arc<Aes256GcmSiv>,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DataKey(<secret>)")
    }
}

impl DataKey {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self {
            cipher: Arc::new(Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(secret))),
        }
    }

    /// Seals bytes under a nonce that `about` makes unique: the same part of the same version always has the same one.
    pub(crate) fn seal_at(&self, nonce: [u8; NONCE], about: &[u8], plain: &[u8]) -> Vec<u8> {
        encrypt(&self.cipher, &nonce, about, plain).unwrap_or_default()
    }

    pub(crate) fn open_at(
        &self,
        nonce: [u8; NONCE],
        about: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        decrypt(&self.cipher, &nonce, about, sealed).ok_or(VaultError::Damaged)
    }

    /// Seals bytes under a random nonce, which leads the answer.
    pub fn seal(&self, about: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        [
            nonce.as_slice(),
            &encrypt(&self.cipher, &nonce, about, plain).unwrap_or_default(),
        ]
        .concat()
    }

    /// Opens what [`DataKey::seal`] made.
    pub fn open(&self, about: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(VaultError::Damaged)?;
        decrypt(&self.cipher, nonce, about, sealed).ok_or(VaultError::Damaged)
    }
}

fn encrypt(
    cipher: &Aes256GcmSiv,
    nonce: &[u8; NONCE],
    about: &[u8],
    plain: &[u8],
) -> Option<Vec<u8>> {
    cipher
        .encrypt(
            Nonce::from_slice(nonce),
            Payload {
                msg: plain,
                aad: about,
            },
        )
        .ok()
}

fn decrypt(cipher: &Aes256GcmSiv, nonce: &[u8], about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    cipher
        .decrypt(
            Nonce::from_slice(nonce),
            Payload {
                msg: sealed,
                aad: about,
            },
        )
        .ok()
}

/// HMAC-SHA-256 under one key.
#[derive(Clone)]
pub(crate) struct KeyedHash(Hmac<Sha256>);

impl KeyedHash {
    /// # Panics
    /// Never: HMAC takes keys of any length.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(<Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The hash over the parts in order.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn from_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(digit: &str) -> Vault {
        Vault::parse(&digit.repeat(64)).expect("64 digits")
    }

    #[test]
    fn a_wrapped_key_opens_only_for_its_stream_and_under_its_key() {
        let vault_a = vault("a");
        let (stream, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (key, wrapped) = vault_a.mint(stream);
        let sealed = key.seal(b"part", b"ada@example.org");
        let again = vault_a
            .open_key(stream, wrapped.key_no, &wrapped.bytes)
            .expect("the same key");
        assert_eq!(
            again.open(b"part", &sealed).expect("opens"),
            b"ada@example.org"
        );
        assert_eq!(again.open(b"other", &sealed), Err(VaultError::Damaged));
        assert!(
            vault_a
                .open_key(other, wrapped.key_no, &wrapped.bytes)
                .is_err()
        );
        assert!(
            vault("b")
                .open_key(stream, wrapped.key_no, &wrapped.bytes)
                .is_err()
        );
    }

    #[test]
    fn the_highest_key_wraps_and_older_ones_still_open() {
        let text = format!("1:{}\n2:{}\n", "a".repeat(64), "b".repeat(64));
        let both = Vault::parse(&text).expect("two keys");
        let (_, old) = vault("a").mint(Uuid::nil());
        assert_eq!(both.current(), 2);
        assert!(both.open_key(Uuid::nil(), old.key_no, &old.bytes).is_ok());
    }

    #[test]
    fn the_database_says_which_keys_are_in_use() {
        let both = vault("a").with_newest_of(&vault("b"), 2).expect("two keys");
        let (login, clone) = (vault("a").derive("login"), both.clone());
        clone.adopt(&[1]);
        assert_eq!((both.current(), both.derive("login")), (1, login.clone()));
        clone.adopt(&[1, 2]);
        assert_eq!((both.current(), both.derive("login")), (2, login.clone()));
        clone.adopt(&[2]);
        assert_eq!(both.derive("login"), vault("b").derive("login"));
        clone.adopt(&[9]);
        assert_eq!((both.current(), both.numbers()), (2, vec![1, 2]));
    }

    #[test]
    fn a_bad_key_file_is_refused() {
        for text in ["", "abc", "x:00", &"g".repeat(64)] {
            assert_eq!(Vault::parse(text).err(), Some(VaultError::BadKeyFile));
        }
    }
}
