//! Every stored event shape of this build, with its fingerprint.

use sha2::{Digest, Sha256};

use crate::channel_access::ChannelAccessEvent;
use crate::connection::ConnectionEvent;
use crate::customer::CustomerEvent;
use crate::event::{EventType, StoredEvent};
use crate::identity::IdentityEvent;
use crate::import::ImportEvent;
use crate::preparation::PreparationEvent;
use crate::purge::PurgeEvent;
use crate::schema::SchemaEvent;
use crate::suppression::SuppressionEvent;
use crate::sync_run::SyncRunEvent;

/// A shape with the hash of its golden bytes: the log refuses to be served by a build that disagrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredType {
    /// The shape.
    pub event_type: EventType,
    /// SHA-256 of the encoded sample, first 8 bytes as hexadecimal. Older versions keep the one their golden file gave.
    pub fingerprint: String,
}

/// Every shape that this build can write, in order of type number.
pub fn all() -> Vec<RegisteredType> {
    let mut types = Vec::new();
    collect::<CustomerEvent>(&mut types);
    collect::<SchemaEvent>(&mut types);
    collect::<PreparationEvent>(&mut types);
    collect::<ImportEvent>(&mut types);
    collect::<SuppressionEvent>(&mut types);
    collect::<PurgeEvent>(&mut types);
    collect::<ChannelAccessEvent>(&mut types);
    collect::<IdentityEvent>(&mut types);
    collect::<ConnectionEvent>(&mut types);
    collect::<SyncRunEvent>(&mut types);
    types
}

/// The public name of a stored shape.
pub fn name_of(type_no: i16, type_version: i16) -> Option<&'static str> {
    all_types()
        .find(|known| (known.type_no, known.type_version) == (type_no, type_version))
        .map(|known| known.name)
}

fn all_types() -> impl Iterator<Item = &'static EventType> {
    let all = [
        CustomerEvent::TYPES,
        SchemaEvent::TYPES,
        PreparationEvent::TYPES,
        ImportEvent::TYPES,
        SuppressionEvent::TYPES,
        PurgeEvent::TYPES,
        ChannelAccessEvent::TYPES,
        IdentityEvent::TYPES,
        ConnectionEvent::TYPES,
        SyncRunEvent::TYPES,
    ];
    all.into_iter().flatten()
}

/// The numbers of the types with a public name; empty where no type has it.
pub fn numbers_of(name: &str) -> Vec<i16> {
    let mut numbers: Vec<i16> = all_types()
        .filter(|known| known.name == name)
        .map(|known| known.type_no)
        .collect();
    numbers.dedup();
    numbers
}

fn collect<E: StoredEvent>(types: &mut Vec<RegisteredType>) {
    for sample in E::samples() {
        let encoded = sample.encode();
        let Some(event_type) = E::TYPES.iter().find(|known| {
            (known.type_no, known.type_version) == (encoded.type_no, encoded.type_version)
        }) else {
            continue;
        };
        let mut hash = Sha256::new();
        hash.update(&encoded.open);
        hash.update(encoded.personal.as_deref().unwrap_or_default());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        let fingerprint = format!("{:016x}", u64::from_be_bytes(first));
        types.push(RegisteredType {
            event_type: *event_type,
            fingerprint,
        });
    }
}
