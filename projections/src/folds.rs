//! States of rarely written streams, folded up to the event at hand.
//!
//! Customers are many and have their own way ([`crate::customers`]); jobs and schemas are few.

use std::num::NonZeroUsize;

use lru::LruCache;
use roster_domain::stream::Stream;
use roster_store::{Cell, Recorded};
use uuid::Uuid;

use crate::page::PageError;

/// How many states of one kind are kept.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// States of one kind of stream, each at a version.
pub(crate) struct Folds<A>(LruCache<Uuid, (i32, A)>);

impl<A> Default for Folds<A> {
    fn default() -> Self {
        Self(LruCache::new(KEPT))
    }
}

impl<A: Stream> Folds<A> {
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// The state with one more event, which is decoded already.
    pub(crate) async fn with(
        &mut self,
        cell: &Cell,
        recorded: &Recorded,
        event: A::Event,
    ) -> Result<&A, PageError> {
        let before = recorded.version - 1;
        let known = self
            .0
            .pop(&recorded.stream)
            .filter(|(version, _)| *version == before);
        let mut state = match known {
            Some((_, state)) => state,
            None if before == 0 => A::default(),
            None => fold(cell, recorded.stream, before).await?,
        };
        state.apply(event);
        self.0.put(recorded.stream, (recorded.version, state));
        match self.0.peek(&recorded.stream) {
            Some((_, state)) => Ok(state),
            None => Err(PageError::Poison {
                stream: recorded.stream,
                position: recorded.position,
                code: "state_lost",
            }),
        }
    }
}

async fn fold<A: Stream>(cell: &Cell, stream: Uuid, up_to: i32) -> Result<A, PageError> {
    let mut state = A::default();
    for recorded in cell.read_stream(stream, 0).await? {
        if recorded.version > up_to {
            break;
        }
        let event = recorded
            .decode()
            .map_err(|error| PageError::decoding(&recorded, error))?;
        state.apply(event);
    }
    Ok(state)
}
