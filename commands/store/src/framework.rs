//! The log as an event store of `cqrs_es`, for tools and tests that speak that contract.

use std::collections::HashMap;
use std::sync::Arc;

use cqrs_es::{AggregateContext, AggregateError, EventEnvelope, EventStore};
use roster_domain::meta::Meta;
use roster_domain::stream::Stream;
use uuid::Uuid;

use crate::{Cell, Loaded, Project, StoreError, Verdict};

/// The streams of one project as an event store of one aggregate; aggregate ids are stream ids.
#[derive(Clone, Debug)]
pub struct AggregateStore {
    cell: Cell,
    project: Arc<Project>,
}

impl AggregateStore {
    /// The store of a project.
    pub const fn new(cell: Cell, project: Arc<Project>) -> Self {
        Self { cell, project }
    }
}

impl<A: Stream> AggregateContext<A> for Loaded<A> {
    fn aggregate(&mut self) -> &mut A {
        Arc::make_mut(&mut self.state)
    }
}

impl<A> EventStore<A> for AggregateStore
where
    A: Stream + 'static,
    A::Event: 'static,
{
    type AC = Loaded<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let stream = stream_id(aggregate_id)?;
        let recorded = self.cell.read_stream(stream, 0).await.map_err(unexpected)?;
        recorded
            .iter()
            .map(|recorded| {
                Ok(EventEnvelope {
                    aggregate_id: aggregate_id.to_owned(),
                    sequence: usize::try_from(recorded.version).unwrap_or_default(),
                    payload: recorded.decode().map_err(unexpected)?,
                    metadata: [("position".to_owned(), recorded.position.to_string())].into(),
                })
            })
            .collect()
    }

    async fn load_aggregate(
        &self,
        aggregate_id: &str,
    ) -> Result<Self::AC, AggregateError<A::Error>> {
        let stream = stream_id(aggregate_id)?;
        self.cell
            .load(&self.project, stream)
            .await
            .map_err(unexpected)
    }

    /// Appends the events of a command whose `handle` already applied them to the context's state.
    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let aggregate_id = context.stream.to_string();
        // `handle` has moved the state; the claims that change are those between the state before and after it.
        let mut before: Loaded<A> = self
            .cell
            .load(&self.project, context.stream)
            .await
            .map_err(unexpected)?;
        if before.version != context.version {
            return Err(AggregateError::AggregateConflict);
        }
        before.key = context.key.clone();
        let meta = Meta {
            request_id: metadata.get("request_id").cloned().unwrap_or_default(),
            traceparent: metadata.get("traceparent").cloned(),
            ..Meta::default()
        };
        let prepared = self
            .cell
            .prepare(&self.project, &before, events.clone(), &meta)
            .map_err(unexpected)?;
        match self.cell.append(prepared).await.map_err(unexpected)? {
            Verdict::Accepted { .. } => Ok((context.version + 1..)
                .zip(events)
                .map(|(sequence, payload)| EventEnvelope {
                    aggregate_id: aggregate_id.clone(),
                    sequence: usize::try_from(sequence).unwrap_or_default(),
                    payload,
                    metadata: metadata.clone(),
                })
                .collect()),
            _ => Err(AggregateError::AggregateConflict),
        }
    }
}

fn stream_id<E: std::error::Error>(aggregate_id: &str) -> Result<Uuid, AggregateError<E>> {
    Uuid::parse_str(aggregate_id).map_err(|error| AggregateError::UnexpectedError(Box::new(error)))
}

fn unexpected<E: std::error::Error>(error: StoreError) -> AggregateError<E> {
    match error {
        StoreError::Database(_) | StoreError::Closed => {
            AggregateError::DatabaseConnectionError(Box::new(error))
        }
        other => AggregateError::UnexpectedError(Box::new(other)),
    }
}
