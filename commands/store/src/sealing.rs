//! How parts of events, snapshots and foreign rows are laid out and sealed.
//!
//! A stored part is: length of the open bytes (postcard varint), the open bytes, then the sealed bytes, if any.

use uuid::Uuid;

use crate::StoreError;
use crate::vault::{DataKey, VaultError};

/// Which part of a version is sealed.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// The personal part of an event's payload.
    Payload,
    /// The subject of an event's cause.
    Subject,
    /// The inline snapshot.
    State,
}

/// What a sealed part belongs to; it is authenticated with the bytes.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) project_no: i32,
    pub(crate) stream: Uuid,
    pub(crate) version: i32,
    pub(crate) type_no: i16,
    pub(crate) type_version: i16,
    pub(crate) part: Part,
}

impl About {
    fn bytes(&self) -> [u8; 29] {
        let mut bytes = [0; 29];
        bytes[..4].copy_from_slice(&self.project_no.to_be_bytes());
        bytes[4..20].copy_from_slice(self.stream.as_bytes());
        bytes[20..24].copy_from_slice(&self.version.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.type_no.to_be_bytes());
        bytes[26..28].copy_from_slice(&self.type_version.to_be_bytes());
        bytes[28] = self.part as u8;
        bytes
    }

    /// Unique for each part of a stream: version, type and part.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..9].copy_from_slice(&self.bytes()[20..]);
        nonce
    }

    pub(crate) fn seal(&self, key: &DataKey, plain: &[u8]) -> Vec<u8> {
        key.seal_at(self.nonce(), &self.bytes(), plain)
    }

    pub(crate) fn open(&self, key: &DataKey, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        key.open_at(self.nonce(), &self.bytes(), sealed)
    }
}

/// Open and sealed bytes as one column.
pub(crate) fn join(open: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(open.len() + sealed.len() + 3);
    let mut length = open.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
    bytes.extend_from_slice(open);
    bytes.extend_from_slice(sealed);
    bytes
}

/// The open and the sealed bytes of a column.
pub(crate) fn split(column: &[u8]) -> Result<(&[u8], &[u8]), StoreError> {
    let malformed = StoreError::Malformed("event payload");
    let mut length = 0_usize;
    for (index, byte) in column.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return column[index + 1..]
                .split_at_checked(length)
                .ok_or(malformed);
        }
    }
    Err(malformed)
}

#[cfg(test)]
mod tests {
    use super::{join, split};

    #[test]
    fn any_length_splits_as_it_was_joined() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let (open, sealed) = (vec![1; length], vec![2; 33]);
            let column = join(&open, &sealed);
            assert_eq!(
                split(&column).expect("well formed"),
                (&open[..], &sealed[..])
            );
        }
        assert!(split(&[0x85]).is_err());
        assert!(split(&[0x05, 1]).is_err());
    }
}
