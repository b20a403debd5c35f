//! How an event becomes bytes: an open part and, for what is about a person, a part that the store seals.
//!
//! Both parts are postcard of structs that are frozen per type and version. Postcard is positional, so a stored shape is
//! never edited: a changed shape gets a new version and an upcaster in `decode`.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

/// The identity of one stored shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Number in `log_events.type_no`; never reused.
    pub type_no: i16,
    /// Version of the shape, from 1.
    pub type_version: i16,
    /// Public name such as `customer.registered`.
    pub name: &'static str,
}

/// An event as bytes, before sealing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Number in `log_events.type_no`.
    pub type_no: i16,
    /// Version of the shape.
    pub type_version: i16,
    /// What anyone with the log may read.
    pub open: Vec<u8>,
    /// What is sealed under the stream's key.
    pub personal: Option<Vec<u8>>,
}

/// Bytes that are no event of this build.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The type or version is newer than this build, or of another aggregate.
    #[error("unknown event type {type_no} version {type_version}")]
    UnknownType {
        /// The stored number.
        type_no: i16,
        /// The stored version.
        type_version: i16,
    },
    /// The bytes do not have the frozen shape.
    #[error("event type {type_no} version {type_version} does not decode")]
    Malformed {
        /// The stored number.
        type_no: i16,
        /// The stored version.
        type_version: i16,
    },
}

/// An event that the log can keep.
pub trait StoredEvent: DomainEvent {
    /// Every shape that this build can read, the newest version of each last.
    const TYPES: &'static [EventType];

    /// The event in its newest shape.
    fn encode(&self) -> Encoded;

    /// The event from any known shape; without `personal` the parts about a person are erased.
    fn decode(
        type_no: i16,
        type_version: i16,
        open: &[u8],
        personal: Option<&[u8]>,
    ) -> Result<Self, DecodeError>;

    /// One event of each newest shape with fixed content: the golden files and the fingerprints come from these.
    fn samples() -> Vec<Self>;
}

/// Postcard bytes of a frozen shape.
///
/// # Panics
/// Never for the shapes of this crate: they have known lengths and no failing `Serialize`.
pub fn to_bytes<T: Serialize>(shape: &T) -> Vec<u8> {
    postcard::to_stdvec(shape).expect("frozen shapes always serialise")
}

/// A frozen shape from its bytes; bytes left over are malformed too.
pub fn from_bytes<'a, T: Deserialize<'a>>(
    event_type: (i16, i16),
    bytes: &'a [u8],
) -> Result<T, DecodeError> {
    let malformed = DecodeError::Malformed {
        type_no: event_type.0,
        type_version: event_type.1,
    };
    match postcard::take_from_bytes(bytes) {
        Ok((shape, [])) => Ok(shape),
        _ => Err(malformed),
    }
}
