//! How much bulk work may hold the log's lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::Cell;

/// The most commands of a chunk (design: one call of 5,000 is where the cost per event is flat).
const LARGEST: usize = 5_000;
/// The fewest: below, the cost of the call outweighs the wait that it saves.
const SMALLEST: usize = 100;
/// How long a chunk may hold the lock while interactive commands come in.
const HOLD: Duration = Duration::from_millis(8);
/// How long after the last command of a kind others still make room for it.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// How far the directory projection may lag while interactive commands come in.
const LAG: i64 = 100;

/// The size that the next chunk should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkRoom {
    /// Commands, 100 to 5,000.
    pub commands: usize,
}

/// Whether bulk work goes on, by the chunks that were written: it is over a second after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It does not.
    None,
    /// For less than a second.
    Short,
    /// For longer.
    Long,
}

/// What the chunks so far took, and when an interactive command and a chunk came in last.
pub(crate) struct BulkControl {
    last_interactive: Last,
    last_chunk: Last,
    /// The first of the chunks that follow each other.
    first_chunk: Last,
    events_per_hold: AtomicUsize,
    /// Chunks that wait for the directory projection.
    held_back: AtomicUsize,
}

/// Counts a chunk that waits, for as long as it does.
struct HeldBack<'a>(&'a AtomicUsize);

impl<'a> HeldBack<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When something was last.
struct Last(Mutex<Option<Instant>>);

impl Last {
    const fn never() -> Self {
        Self(Mutex::new(None))
    }

    fn is_now(&self) {
        if let Ok(mut last) = self.0.lock() {
            *last = Some(Instant::now());
        }
    }

    fn is_recent(&self) -> bool {
        self.0
            .lock()
            .is_ok_and(|last| last.is_some_and(|at| at.elapsed() < QUIET_AFTER))
    }
}

impl BulkControl {
    pub(crate) const fn new() -> Self {
        Self {
            last_interactive: Last::never(),
            last_chunk: Last::never(),
            first_chunk: Last::never(),
            events_per_hold: AtomicUsize::new(500),
            held_back: AtomicUsize::new(0),
        }
    }

    pub(crate) fn interactive(&self) {
        self.last_interactive.is_now();
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.last_interactive.is_recent()
    }

    pub(crate) fn load(&self) -> Load {
        if !self.last_chunk.is_recent() {
            Load::None
        } else if self.first_chunk.is_recent() {
            Load::Short
        } else {
            Load::Long
        }
    }

    /// Follows the measured speed of a chunk, half of it new.
    pub(crate) fn measured(&self, events: usize, took: Duration) {
        if !self.last_chunk.is_recent() {
            self.first_chunk.is_now();
        }
        self.last_chunk.is_now();
        let micros = took.as_micros().max(1);
        let fits = u128::try_from(events).unwrap_or_default() * HOLD.as_micros() / micros;
        let fits = usize::try_from(fits)
            .unwrap_or(LARGEST)
            .clamp(SMALLEST, LARGEST);
        let before = self.events_per_hold.load(Ordering::Relaxed);
        self.events_per_hold
            .store(usize::midpoint(before, fits), Ordering::Relaxed);
    }

    pub(crate) fn room(&self) -> BulkRoom {
        let commands = if self.is_busy() {
            self.events_per_hold.load(Ordering::Relaxed)
        } else {
            LARGEST
        };
        BulkRoom { commands }
    }
}

impl Cell {
    /// How large the next chunk should be: 5,000 on a quiet cell, else what holds the lock for 8 ms at the speed measured.
    pub fn bulk_room(&self) -> BulkRoom {
        self.control().room()
    }

    /// Whether an interactive command came in during the last second.
    pub fn is_busy(&self) -> bool {
        self.control().is_busy()
    }

    /// Whether bulk work goes on.
    pub fn bulk_load(&self) -> Load {
        self.control().load()
    }

    /// Whether a chunk waits for the directory projection ([`Cell::wait_for_bulk_turn`]).
    pub fn holds_bulk_back(&self) -> bool {
        self.control().held_back.load(Ordering::Relaxed) > 0
    }

    /// Waits, while interactive commands come in, until the directory projection has all but 100 of the events that are in the log
    /// now: who waits for one of them waits for everything before it. What comes meanwhile is not waited for, so that bulk work
    /// goes on under any load.
    pub async fn wait_for_bulk_turn(&self) {
        let mut projected = self.projected().subscribe();
        let _held_back = HeldBack::new(&self.control().held_back);
        let wanted = *self.head().borrow() - LAG;
        loop {
            let position = *projected.borrow_and_update();
            let behind = position >= 0 && position < wanted;
            if !behind || !self.control().is_busy() {
                return;
            }
            // Woken by the projection; the bound only covers the moment when interactive commands cease.
            let woken = tokio::time::timeout(QUIET_AFTER, projected.changed()).await;
            if matches!(woken, Ok(Err(_))) {
                return;
            }
        }
    }
}
