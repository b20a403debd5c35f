//! Signed anchors: what the log was at a moment, told where no superuser of the database can change it.
//!
//! A chain of digests can be computed anew by whoever may write the tables, and its tail can be cut. An anchor names a batch
//! and its digest under an Ed25519 signature (RFC 8032) whose key is not in Postgres; it is one line of JSON in a file that
//! is only ever appended to. Who moves that file to another machine cannot be fooled by this one.

mod file;
mod signer;

use chrono::{DateTime, SecondsFormat, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::vault::{from_hex, to_hex};

pub use file::AnchorFile;
pub use signer::{AnchorError, Signer};

/// What the log was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Whose log.
    pub cell: String,
    /// Which life of it.
    pub epoch: i32,
    /// The last position of a batch.
    pub position: i64,
    /// The digest of that batch, which covers everything before it.
    pub digest: [u8; 32],
    /// When, by the clock of the server that signed.
    pub at: DateTime<Utc>,
}

/// The key that signs: 32 bytes outside Postgres.
#[derive(Clone)]
pub struct AnchorKey(SigningKey);

impl std::fmt::Debug for AnchorKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "AnchorKey({})", self.public())
    }
}

/// The key that verifies, as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A key is 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key of anchors must be 64 hexadecimal digits")]
pub struct BadAnchorKey;

/// Why a line of an anchor file counts for nothing.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadAnchor {
    /// It is not an anchor as this build writes it.
    #[error("it is no anchor")]
    Malformed,
    /// Its key is none of the given ones.
    #[error("it is signed with another key")]
    OtherKey,
    /// It was changed after it was signed.
    #[error("its signature does not hold")]
    Forged,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    cell: String,
    epoch: i32,
    position: i64,
    digest: String,
    at: String,
    key: String,
    signature: String,
}

impl AnchorKey {
    /// The key from 64 hexadecimal digits (RFC 8032 calls these 32 bytes the private key).
    pub fn parse(text: &str) -> Result<Self, BadAnchorKey> {
        let seed: [u8; 32] = from_hex(text.trim()).ok_or(BadAnchorKey)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// What its anchors are verified with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The line that tells an anchor, without a line break.
    pub fn sign(&self, anchor: &Anchor) -> String {
        let line = Line {
            cell: anchor.cell.clone(),
            epoch: anchor.epoch,
            position: anchor.position,
            digest: to_hex(&anchor.digest),
            at: time(anchor.at),
            key: self.public().to_string(),
            signature: to_hex(&self.0.sign(&signed_bytes(anchor)).to_bytes()),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl PublicKey {
    /// The key from 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, BadAnchorKey> {
        let bytes: [u8; 32] = from_hex(text.trim()).ok_or(BadAnchorKey)?;
        VerifyingKey::from_bytes(&bytes)
            .map(Self)
            .map_err(|_| BadAnchorKey)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&to_hex(self.0.as_bytes()))
    }
}

impl Anchor {
    /// Reads a line and verifies its signature by one of the keys.
    pub fn read(line: &str, keys: &[PublicKey]) -> Result<Self, BadAnchor> {
        let line: Line = serde_json::from_str(line).map_err(|_| BadAnchor::Malformed)?;
        let at = DateTime::parse_from_rfc3339(&line.at).map_err(|_| BadAnchor::Malformed)?;
        let anchor = Self {
            cell: line.cell,
            epoch: line.epoch,
            position: line.position,
            digest: from_hex(&line.digest).ok_or(BadAnchor::Malformed)?,
            at: at.to_utc(),
        };
        let named = PublicKey::parse(&line.key).map_err(|_| BadAnchor::Malformed)?;
        // The key in the line only chooses among those that are trusted.
        let key = keys.iter().find(|key| **key == named);
        let key = key.ok_or(BadAnchor::OtherKey)?;
        let signature = from_hex(&line.signature).ok_or(BadAnchor::Malformed)?;
        key.0
            .verify_strict(&signed_bytes(&anchor), &Signature::from_bytes(&signature))
            .map_err(|_| BadAnchor::Forged)?;
        Ok(anchor)
    }
}

/// What is signed: a line each, which no value can hold.
fn signed_bytes(anchor: &Anchor) -> Vec<u8> {
    let Anchor {
        cell,
        epoch,
        position,
        digest,
        at,
    } = anchor;
    let (digest, at) = (to_hex(digest), time(*at));
    format!("roster anchor 1\n{cell}\n{epoch}\n{position}\n{digest}\n{at}\n").into_bytes()
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::{Anchor, AnchorKey, BadAnchor};

    fn key(digit: &str) -> AnchorKey {
        AnchorKey::parse(&digit.repeat(64)).expect("64 digits")
    }

    fn anchor() -> Anchor {
        Anchor {
            cell: "main".into(),
            epoch: 1,
            position: 42,
            digest: [7; 32],
            at: chrono::DateTime::from_timestamp_micros(1_767_225_600_000_001).expect("a time"),
        }
    }

    #[test]
    fn a_line_gives_the_anchor_back_to_who_has_the_key() {
        let line = key("a").sign(&anchor());
        assert_eq!(
            Anchor::read(&line, &[key("b").public(), key("a").public()]),
            Ok(anchor())
        );
        assert_eq!(
            Anchor::read(&line, &[key("b").public()]),
            Err(BadAnchor::OtherKey)
        );
    }

    #[test]
    fn a_changed_line_is_refused() {
        let line = key("a").sign(&anchor());
        for (old, new) in [
            ("\"main\"", "\"other\""),
            ("42", "43"),
            ("\"epoch\":1", "\"epoch\":2"),
            ("0707", "0708"),
            ("00:00:00.000001", "00:00:00.000002"),
        ] {
            let changed = line.replacen(old, new, 1);
            assert_ne!(changed, line, "{old}");
            assert_eq!(
                Anchor::read(&changed, &[key("a").public()]),
                Err(BadAnchor::Forged),
                "{old}"
            );
        }
        assert_eq!(
            Anchor::read(&line[..40], &[key("a").public()]),
            Err(BadAnchor::Malformed)
        );
    }
}
