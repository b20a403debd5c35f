//! Customers whom nothing found before an event, and whose rows are read from the tables since.
//!
//! Only who can be found is kept. Somebody who is linked, or who gets a value that rules look up, comes in with that alone; until
//! the row is there, look-ups that meet them go to the tables. A row counts if no event about its customer came after it.

use std::collections::HashMap;

use roster_store::{Recorded, StoreError};
use uuid::Uuid;

use super::{CustomerRow, Writer};
use crate::identity::memory::draft::Draft;

/// Rows that are read at once.
const BATCH: usize = 1_000;

/// Customers whose rows are to be read.
#[derive(Clone, Debug)]
pub(in crate::identity) struct Unread {
    pub(in crate::identity) streams: Vec<Uuid>,
    /// The tables must show this position.
    pub(in crate::identity) from: i64,
}

/// Customers whose rows are awaited.
#[derive(Default)]
pub(super) struct Waiting {
    /// The position of the last event about each.
    last: HashMap<Uuid, i64>,
    /// Those that nobody reads yet.
    queue: Vec<Uuid>,
    is_reading: bool,
}

impl Waiting {
    /// There was an event about a customer.
    pub(super) fn heard(&mut self, stream: Uuid, position: i64) {
        if let Some(last) = self.last.get_mut(&stream) {
            *last = position;
        }
    }

    pub(super) fn add(&mut self, stream: Uuid, position: i64) {
        if self.last.insert(stream, position).is_none() {
            self.queue.push(stream);
        }
    }

    /// Whether a customer is awaited, and nothing happened to them after a position.
    fn is_of(&self, stream: Uuid, position: i64) -> bool {
        self.last.get(&stream).is_some_and(|last| *last <= position)
    }

    pub(super) fn remove(&mut self, stream: Uuid) {
        self.last.remove(&stream);
    }
}

impl Writer {
    /// Somebody who can be found from an event on.
    pub(super) fn unread(&mut self, stream: Uuid, position: i64) -> Draft {
        self.waiting.add(stream, position);
        Draft::unread()
    }

    /// The rows that are to be read next, unless some are being read.
    pub(in crate::identity) fn next_unread(&mut self) -> Option<Unread> {
        let waiting = &mut self.waiting;
        if waiting.is_reading {
            return None;
        }
        let mut next = Unread {
            streams: Vec::new(),
            from: 0,
        };
        while next.streams.len() < BATCH
            && let Some(stream) = waiting.queue.pop()
        {
            if let Some(last) = waiting.last.get(&stream) {
                next.from = next.from.max(*last);
                next.streams.push(stream);
            }
        }
        waiting.is_reading = !next.streams.is_empty();
        waiting.is_reading.then_some(next)
    }

    /// Takes rows in that the tables had at a position, which is applied here as well, and whole streams up to there. Who has
    /// neither is left to the tables.
    ///
    /// # Errors
    /// A row that no table can have.
    pub(in crate::identity) fn read(
        &mut self,
        asked: &Unread,
        position: i64,
        rows: &[CustomerRow<'_>],
        streams: &[Vec<Recorded>],
    ) -> Result<(), StoreError> {
        self.waiting.is_reading = false;
        for row in rows {
            if self.waiting.is_of(row.stream, position) {
                self.load_customer(row, &[])?;
            }
        }
        for events in streams {
            let stream = events.first().map(|first| first.stream);
            if stream.is_some_and(|stream| self.waiting.is_of(stream, position)) {
                // What this build cannot read is left to the tables, too.
                let _ = self.apply(events);
            }
        }
        for stream in &asked.streams {
            match self.waiting.last.get(stream) {
                Some(last) if *last > position => self.waiting.queue.push(*stream),
                Some(_) => self.waiting.remove(*stream),
                None => {}
            }
        }
        self.weigh();
        Ok(())
    }
}
