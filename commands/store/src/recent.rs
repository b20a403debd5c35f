//! The newest events of this server, kept open in memory, so that its own projections need not read and unseal them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::{Heading, Recorded};

/// The most bytes that are kept: several of the largest chunks.
const LARGEST: usize = 16 << 20;

/// Contiguous committed events. A gap, where another server wrote, starts it anew.
pub(crate) struct Recent(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    events: VecDeque<Recorded>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner::default()))
    }

    /// Adds committed events in the order of their positions.
    pub(crate) fn push(&self, events: impl IntoIterator<Item = Recorded>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if inner
                .events
                .back()
                .is_some_and(|last| last.position + 1 != event.position)
            {
                *inner = Inner::default();
            }
            inner.bytes += event.size();
            inner.events.push_back(event);
        }
        while inner.bytes > LARGEST {
            let Some(oldest) = inner.events.pop_front() else {
                break;
            };
            inner.bytes -= oldest.size();
        }
    }

    /// The events after a position, if the one that follows it is here.
    pub(crate) fn after(&self, position: i64, limit: i64) -> Option<Vec<Recorded>> {
        self.each_after(position, limit, Recorded::clone)
    }

    /// The same without what the events say.
    pub(crate) fn headings(&self, position: i64, limit: i64) -> Option<Vec<Heading>> {
        self.each_after(position, limit, Heading::of)
    }

    fn each_after<T>(
        &self,
        position: i64,
        limit: i64,
        take: impl Fn(&Recorded) -> T,
    ) -> Option<Vec<T>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = inner.events.front()?.position;
        let skip = usize::try_from(position + 1 - first)
            .ok()
            .filter(|skip| *skip < inner.events.len())?;
        let limit = usize::try_from(limit).unwrap_or_default();
        Some(
            inner
                .events
                .iter()
                .skip(skip)
                .take(limit)
                .map(take)
                .collect(),
        )
    }

    /// Erases what is about the persons of some streams, as if it were read without the keys that were just destroyed.
    pub(crate) fn scrub(&self, streams: &HashSet<Uuid>) {
        if streams.is_empty() {
            return;
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { events, bytes } = &mut *inner;
        for event in events
            .iter_mut()
            .filter(|event| streams.contains(&event.stream))
        {
            *bytes -= event.size();
            event.erase();
            *bytes += event.size();
        }
    }
}
