//! What a tool can do with a stream of any kind without knowing the aggregate: fold it, read its snapshot, write it as JSON.
//!
//! One table with a row for each aggregate; a new aggregate is a new row.

use cqrs_es::Aggregate;
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use futures::future::BoxFuture;
use postgres_es::PostgresEventRepository;
use roster_domain::channel_access::ChannelAccess;
use roster_domain::connection::Connection;
use roster_domain::customer::Customer;
use roster_domain::event::{EventType, StoredEvent};
use roster_domain::identity::Identity;
use roster_domain::import::Import;
use roster_domain::preparation::Preparation;
use roster_domain::purge::Purge;
use roster_domain::schema::ProjectSchema;
use roster_domain::stream::{Held, Stream};
use roster_domain::suppression::Suppression;
use roster_domain::sync_run::SyncRun;
use serde_json::Value;

use crate::streams::fingerprint_of;
use crate::{Recorded, StoreError};

/// Every aggregate of this build.
const KINDS: [Kind; 10] = [
    Kind::of::<Customer>(),
    Kind::of::<ProjectSchema>(),
    Kind::of::<Preparation>(),
    Kind::of::<Import>(),
    Kind::of::<Suppression>(),
    Kind::of::<Purge>(),
    Kind::of::<ChannelAccess>(),
    Kind::of::<Identity>(),
    Kind::of::<Connection>(),
    Kind::of::<SyncRun>(),
];

/// One aggregate as functions of stored bytes.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// `log_streams.kind`.
    pub(crate) no: i16,
    /// The shapes of its events.
    pub(crate) types: &'static [EventType],
    /// The mark of its snapshot's present shape.
    pub(crate) fingerprint: i32,
    /// What an opened snapshot says; `None` where it does not have the present shape.
    pub(crate) of_snapshot: fn(&[u8]) -> Option<Held>,
    /// What a whole stream of events comes to.
    pub(crate) fold: fn(&[Recorded]) -> Result<Folded, StoreError>,
    /// The shapes that end a stream for ever.
    pub(crate) closing: fn() -> Vec<(i16, i16)>,
    /// The decoded event, its name and version.
    pub(crate) decoded: fn(&Recorded) -> Result<Decoded, StoreError>,
    /// Its name in a standard event table.
    pub(crate) aggregate_type: &'static str,
    /// Writes its events to a standard event table, all or none.
    pub(crate) persist: Persist,
}

type Persist = for<'a> fn(
    &'a PostgresEventRepository,
    &'a [SerializedEvent],
) -> BoxFuture<'a, Result<(), PersistenceError>>;

/// What a whole stream comes to.
pub(crate) struct Folded {
    /// What the log relies on.
    pub(crate) held: Held,
    /// The state as a snapshot has it.
    pub(crate) snapshot: Vec<u8>,
}

/// An event as anybody can read it.
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) payload: Value,
}

impl Kind {
    const fn of<A: Stream + 'static>() -> Self {
        Self {
            no: A::KIND,
            types: <A::Event as StoredEvent>::TYPES,
            fingerprint: fingerprint_of::<A>(),
            of_snapshot: A::held,
            fold: fold::<A>,
            closing: closing::<A>,
            decoded: decoded::<A::Event>,
            aggregate_type: A::TYPE,
            persist: persist::<A>,
        }
    }

    /// The aggregate that a shape belongs to.
    pub(crate) fn of_type(type_no: i16, type_version: i16) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            kind.types
                .iter()
                .any(|known| (known.type_no, known.type_version) == (type_no, type_version))
        })
    }

    /// Every shape that ends a stream for ever.
    pub(crate) fn all_closing() -> Vec<(i16, i16)> {
        KINDS.iter().flat_map(|kind| (kind.closing)()).collect()
    }
}

impl Recorded {
    /// The decoded event as JSON; `None` where this build does not know its type.
    ///
    /// # Errors
    /// What [`Recorded::decode`] fails with.
    pub fn payload(&self) -> Result<Option<Value>, StoreError> {
        let kind = Kind::of_type(self.type_no, self.type_version);
        let decoded = kind.map(|kind| (kind.decoded)(self)).transpose()?;
        Ok(decoded.map(|decoded| decoded.payload))
    }
}

fn fold<A: Stream>(events: &[Recorded]) -> Result<Folded, StoreError> {
    let mut state = A::default();
    for recorded in events {
        state.apply(recorded.decode()?);
    }
    Ok(Folded {
        held: Held::of(&state),
        snapshot: postcard::to_stdvec(&state).map_err(|_| StoreError::Malformed("state"))?,
    })
}

/// An event closes a stream whatever came before it, so it closes an empty state too; and so does each version of its type.
fn closing<A: Stream>() -> Vec<(i16, i16)> {
    let closes = |sample: A::Event| {
        let type_no = sample.encode().type_no;
        let mut state = A::default();
        state.apply(sample);
        state.is_closed().then_some(type_no)
    };
    let closing: Vec<i16> = A::Event::samples().into_iter().filter_map(closes).collect();
    let types = <A::Event as StoredEvent>::TYPES.iter();
    types
        .filter(|known| closing.contains(&known.type_no))
        .map(|known| (known.type_no, known.type_version))
        .collect()
}

fn decoded<E: StoredEvent>(recorded: &Recorded) -> Result<Decoded, StoreError> {
    let event: E = recorded.decode()?;
    Ok(Decoded {
        name: event.event_type(),
        version: event.event_version(),
        payload: serde_json::to_value(&event).map_err(|_| StoreError::Malformed("event"))?,
    })
}

fn persist<'a, A: Aggregate + 'static>(
    repository: &'a PostgresEventRepository,
    events: &'a [SerializedEvent],
) -> BoxFuture<'a, Result<(), PersistenceError>> {
    Box::pin(repository.persist::<A>(events, None))
}

#[cfg(test)]
mod tests {
    use roster_domain::registry;

    use super::Kind;

    #[test]
    fn every_shape_of_the_registry_belongs_to_an_aggregate() {
        for registered in registry::all() {
            let known = registered.event_type;
            let kind = Kind::of_type(known.type_no, known.type_version);
            let name = known.name.split('.').next().expect("a name");
            assert_eq!(kind.map(|kind| kind.aggregate_type), Some(name));
        }
    }

    #[test]
    fn the_shapes_that_end_a_stream_are_known() {
        let names: Vec<_> = Kind::all_closing()
            .into_iter()
            .filter_map(|(no, version)| registry::name_of(no, version))
            .collect();
        assert_eq!(
            names,
            [
                "customer.erased",
                "import.expired",
                "suppression.removed",
                "purge.expired",
                "identity.forgotten",
                "connection.deleted",
                "sync_run.expired"
            ]
        );
    }
}
