//! How a read model that a write does not wait for shares the machine with those that it does.
//!
//! Large pages cost less a row, so changes are gathered: a little where they trickle, longer while interactive commands or bulk
//! work come in, and as long as the directory is behind. Bulk work that is short, as most is, one of them follows at once, and the
//! others when it is over. Whoever waits for the read model ends that at once.

use std::sync::Arc;
use std::time::Duration;

use roster_store::{Cell, Load};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::status::Shared;

/// How far the directory may lag before the machine is left to it, in events.
const DIRECTORY_LAG: i64 = 2_000;
/// How far another read model may lag before the machine is left to it, in events.
const OTHER_LAG: i64 = 1_000;
/// The rest after a page while commands come in, in times of that page: a tenth of one processor is taken then.
const REST: u32 = 9;
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How far a read model may fall behind for that, in events.
const FURTHEST_BEHIND: i64 = 100_000;
/// The same for bulk work, which appends faster than rows are indexed: what is indexed beside it comes no sooner, and the load later.
const FURTHEST_BEHIND_BULK: i64 = 1_000_000;
/// How often a gathering runner looks whether somebody waits for it.
const STEP: Duration = Duration::from_millis(10);

/// How changes that trickle are gathered.
#[derive(Clone, Copy)]
pub(crate) struct Gather {
    /// For how long.
    pub(crate) time: Duration,
    /// From this many events on no longer.
    pub(crate) events: i64,
}

pub(crate) struct Pace {
    cell: Cell,
    head: watch::Receiver<i64>,
    directory: Arc<Shared>,
    first: Option<Arc<Shared>>,
    own: Arc<Shared>,
    gather: Gather,
    written: Instant,
    rested: Instant,
}

impl Pace {
    /// `own` is the state of the read model's own runner.
    pub(crate) fn new(
        cell: Cell,
        directory: Arc<Shared>,
        own: Arc<Shared>,
        gather: Gather,
    ) -> Self {
        let now = Instant::now();
        Self {
            head: cell.head(),
            cell,
            directory,
            first: None,
            own,
            gather,
            written: now,
            rested: now,
        }
    }

    /// Leaves the machine to another read model too, while that is behind.
    pub(crate) fn after(self, first: Arc<Shared>) -> Self {
        Self {
            first: Some(first),
            ..self
        }
    }

    /// Whether the runner at a position should not write a page now.
    pub(crate) fn must_wait(&self, position: i64) -> bool {
        let projected = self.directory.progress.position();
        if *self.head.borrow() - projected > DIRECTORY_LAG {
            return true;
        }
        if self.own.progress.awaited() {
            return false;
        }
        let behind = projected - position;
        let load = self.cell.bulk_load();
        let is_loading = load == Load::Long;
        let furthest = if is_loading {
            FURTHEST_BEHIND_BULK
        } else {
            FURTHEST_BEHIND
        };
        let is_before = |first: &Arc<Shared>| {
            load == Load::Short || projected - first.progress.position() > OTHER_LAG
        };
        if behind < furthest && self.first.as_ref().is_some_and(is_before) {
            return true;
        }
        let mut until = self.written;
        if behind < self.gather.events {
            until += self.gather.time;
        }
        if behind < furthest && (is_loading || self.cell.is_busy()) {
            until = until.max(self.rested);
        }
        Instant::now() < until
    }

    /// Waits while a page should not be written, but not beyond a moment.
    pub(crate) async fn wait(&self, position: i64, until: Instant) {
        while self.must_wait(position) && Instant::now() < until {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Takes note of a page that was begun then and is written now.
    pub(crate) fn wrote(&mut self, begun: Instant) {
        self.written = Instant::now();
        self.rested = self.written + (begun.elapsed() * REST).min(LONGEST_REST);
    }
}
