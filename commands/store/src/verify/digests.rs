//! Digests of events: recomputed from the bytes as they were sent, which are those that the append hashed.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::StoreError;
use crate::copied::{fixed, rows};

/// The columns in the order in which the digest takes them, and the digest.
pub(super) const SELECT: &str =
    "SELECT position, recorded_at, stream_id, version, project_no, type_no, type_version,
                                        meta, payload, digest
                                   FROM log_events
                                  ORDER BY position";

/// What the walk needs of an event.
pub(super) struct Event {
    pub(super) position: i64,
    pub(super) stream: Uuid,
    pub(super) version: i32,
    pub(super) project_no: i32,
    pub(super) type_no: i16,
    pub(super) type_version: i16,
    /// As it is stored; the chain is made of these.
    pub(super) digest: [u8; 32],
    /// Whether it is the digest of the event.
    pub(super) is_sound: bool,
}

/// Reads a block of rows of [`SELECT`].
pub(super) fn read(block: &[u8]) -> Result<Vec<Event>, StoreError> {
    let mut events = Vec::with_capacity(block.len() / 256);
    rows::<10>(block, |columns| {
        let [
            position,
            recorded_at,
            stream,
            version,
            project_no,
            type_no,
            type_version,
            meta,
            payload,
            digest,
        ] = columns;
        let (position, stream) = (fixed::<8>(position)?, fixed::<16>(stream)?);
        let (version, project_no) = (fixed::<4>(version)?, fixed::<4>(project_no)?);
        let (type_no, type_version) = (fixed::<2>(type_no)?, fixed::<2>(type_version)?);
        let (meta, payload) = (meta.unwrap_or_default(), payload.unwrap_or_default());
        let length = u32::try_from(meta.len()).unwrap_or(u32::MAX);
        let mut hash = Sha256::new();
        hash.update(position);
        hash.update(fixed::<8>(recorded_at)?);
        hash.update(stream);
        hash.update(version);
        hash.update(project_no);
        hash.update(type_no);
        hash.update(type_version);
        hash.update(length.to_be_bytes());
        hash.update(meta);
        hash.update(payload);
        let stored = digest.unwrap_or_default();
        let is_sound = hash.finalize().as_slice() == stored;
        let mut digest = [0; 32];
        if let Ok(whole) = <[u8; 32]>::try_from(stored) {
            digest = whole;
        }
        events.push(Event {
            position: i64::from_be_bytes(position),
            stream: Uuid::from_bytes(stream),
            version: i32::from_be_bytes(version),
            project_no: i32::from_be_bytes(project_no),
            type_no: i16::from_be_bytes(type_no),
            type_version: i16::from_be_bytes(type_version),
            digest,
            is_sound,
        });
        Ok(())
    })?;
    Ok(events)
}
