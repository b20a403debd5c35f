//! The log as a read-only repository of `cqrs_es`, so that its stock `QueryReplay` and `ReplayStream` work for audits.

use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use roster_domain::event::StoredEvent;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{Cell, Recorded, StoreError};

/// Events that a replay holds in memory before its reader takes them.
const QUEUE: usize = 1_000;
/// Events that a replay reads at once.
const PAGE: i64 = 1_000;

/// Events of one aggregate type `E` as decoded JSON. Writing through it is refused: the append is the only way in.
#[derive(Clone, Debug)]
pub struct ReplayRepository<E> {
    cell: Cell,
    tracker: TaskTracker,
    event: std::marker::PhantomData<fn() -> E>,
}

impl<E: StoredEvent + 'static> ReplayRepository<E> {
    /// A repository over a cell; the replay task runs in the tracker.
    pub const fn new(cell: Cell, tracker: TaskTracker) -> Self {
        Self {
            cell,
            tracker,
            event: std::marker::PhantomData,
        }
    }

    fn knows(recorded: &Recorded) -> bool {
        E::TYPES.iter().any(|known| {
            (known.type_no, known.type_version) == (recorded.type_no, recorded.type_version)
        })
    }

    fn serialize<A: Aggregate>(recorded: &Recorded) -> Result<SerializedEvent, PersistenceError> {
        let event: E = recorded.decode().map_err(unknown)?;
        let meta = recorded.meta().map_err(unknown)?;
        Ok(SerializedEvent {
            aggregate_id: recorded.stream.to_string(),
            sequence: usize::try_from(recorded.version).unwrap_or_default(),
            aggregate_type: A::TYPE.to_owned(),
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: serde_json::to_value(&event)?,
            // The framework reads metadata as a map of text.
            metadata: json!({
                "position": recorded.position.to_string(),
                "recorded_at": recorded.recorded_at.to_rfc3339(),
                "request_id": meta.request_id,
            }),
        })
    }

    async fn events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        after: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let stream = Uuid::parse_str(aggregate_id)
            .map_err(|error| PersistenceError::UnknownError(Box::new(error)))?;
        let after = i32::try_from(after).unwrap_or(i32::MAX);
        let recorded = self
            .cell
            .read_stream(stream, after)
            .await
            .map_err(unknown)?;
        recorded
            .iter()
            .filter(|recorded| Self::knows(recorded))
            .map(Self::serialize::<A>)
            .collect()
    }
}

impl<E: StoredEvent + 'static> PersistedEventRepository for ReplayRepository<E> {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.events::<A>(aggregate_id, 0).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.events::<A>(aggregate_id, last_sequence).await
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        _aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        Ok(None)
    }

    async fn persist<A: Aggregate>(
        &self,
        _events: &[SerializedEvent],
        _snapshot_update: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        Err(unknown(StoreError::Malformed(
            "write: the replay repository only reads",
        )))
    }

    async fn stream_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        let (mut feed, stream) = ReplayStream::new(QUEUE);
        let events = self.events::<A>(aggregate_id, 0).await;
        self.tracker.spawn(async move {
            match events {
                Ok(events) => {
                    for event in events {
                        if feed.push(Ok(event)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => drop(feed.push(Err(error)).await),
            }
        });
        Ok(stream)
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        let (mut feed, stream) = ReplayStream::new(QUEUE);
        let cell = self.cell.clone();
        self.tracker.spawn(async move {
            let mut after = 0;
            loop {
                let page = match cell.read_page(after, PAGE).await {
                    Ok(page) => page,
                    Err(error) => return drop(feed.push(Err(unknown(error))).await),
                };
                let Some(last) = page.last() else { return };
                after = last.position;
                for recorded in page.iter().filter(|recorded| Self::knows(recorded)) {
                    if feed.push(Self::serialize::<A>(recorded)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(stream)
    }
}

fn unknown(error: StoreError) -> PersistenceError {
    PersistenceError::UnknownError(Box::new(error))
}
