//! The task that keeps the memory: fills it from the read tables, then follows the log.
//!
//! Own appends wake it in process, others' by a hint over NATS, and every 100 ms it asks the log where it ends. Only that
//! answer, once it was followed up, makes the memory fresh: silence proves nothing.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roster_store::{Cell, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Inner;
use super::feed;
use super::fill::{self, Refilled, What};
use super::memory::{Refill, Unread, Writer};
use super::metrics::Measured;
use crate::page::code_of;

/// How often the end of the log is looked up.
const LOOK: Duration = Duration::from_millis(100);
/// Events of a page: while one is applied, nothing is answered of the next.
const PAGE: i64 = 1_000;
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon tables that do not show a position yet are read again.
const SOON: Duration = Duration::from_millis(20);
/// Values of a refill that are taken in at once.
const PIECE: usize = 10_000;

/// Follows the log.
pub(super) struct Follower {
    pub(super) inner: Arc<Inner>,
    pub(super) writer: Writer,
    pub(super) hint: Arc<Notify>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Follower {
    /// Runs until the stop.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let ended = stop.run_until_cancelled(self.live()).await;
            let Some(error) = ended else {
                return;
            };
            self.inner.feed.lose();
            self.writer.clear();
            let code = error.map_or_else(|| "tables_version".into(), |error| code_of(&error));
            tracing::warn!(code, "identities are looked up in Postgres");
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    /// Fills the memory and follows; ends with what went wrong.
    async fn live(&mut self) -> Option<StoreError> {
        let cell = self.inner.cell.clone();
        let started = Instant::now();
        let most = self.inner.options.most;
        let empty = Writer::new(Arc::clone(&self.inner.memory), most);
        let writer = std::mem::replace(&mut self.writer, empty);
        let position = match fill::fill(&cell, writer).await {
            Ok((writer, position)) => {
                self.writer = writer;
                position?
            }
            Err(error) => return Some(error),
        };
        tracing::info!(
            position,
            size = self.writer.size(),
            millis = started.elapsed().as_millis(),
            "identities are in memory"
        );
        self.inner.feed.reach(position);
        self.follow(&cell).await.err()
    }

    async fn follow(&mut self, cell: &Cell) -> Result<(), StoreError> {
        let mut head = cell.head();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (done, mut refilled) = mpsc::unbounded_channel();
        let mut read: Vec<Refilled> = Vec::new();
        let mut measured = Measured::new();
        let inner = Arc::clone(&self.inner);
        let hint = Arc::clone(&self.hint);
        loop {
            tokio::select! {
                changed = head.changed() => {
                    if changed.is_err() {
                        return Err(StoreError::Closed);
                    }
                    let to = *head.borrow_and_update();
                    self.catch_up(cell, to, &done).await?;
                }
                () = hint.notified() => self.read_on(cell, &done).await?,
                () = inner.feed.asked() => self.look(cell, &done).await?,
                _ = looks.tick() => {
                    self.look(cell, &done).await?;
                    measured.tell(&inner, &self.writer);
                }
                Some(more) = refilled.recv() => read.push(more),
            }
            self.take_in(&mut read)?;
            if let Some(unread) = self.writer.next_unread() {
                self.start(Wanted::Rows(unread), done.clone());
            }
        }
    }

    /// Looks where the log ends, and goes there.
    async fn look(&mut self, cell: &Cell, done: &Done) -> Result<(), StoreError> {
        let before = feed::now();
        let end = cell.head_position().await?;
        self.catch_up(cell, end, done).await?;
        self.inner.feed.prove(before);
        Ok(())
    }

    async fn catch_up(&mut self, cell: &Cell, to: i64, done: &Done) -> Result<(), StoreError> {
        while self.inner.feed.position() < to {
            if self.page(cell, done).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads whatever there is more.
    async fn read_on(&mut self, cell: &Cell, done: &Done) -> Result<(), StoreError> {
        while self.page(cell, done).await?.is_continue() {}
        Ok(())
    }

    async fn page(&mut self, cell: &Cell, done: &Done) -> Result<ControlFlow<()>, StoreError> {
        let after = self.inner.feed.position();
        let page = cell.read_page(after, PAGE).await?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return Ok(ControlFlow::Break(()));
        };
        if first.position != after + 1 {
            return Err(StoreError::Hole {
                expected: after + 1,
                found: first.position,
            });
        }
        let refills = self.writer.apply(&page)?;
        self.inner.feed.reach(last.position);
        for refill in refills {
            self.start(Wanted::Values(refill), done.clone());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads from the tables beside the following.
    fn start(&self, wanted: Wanted, done: Done) {
        let cell = self.inner.cell.clone();
        let stop = self.stop.clone();
        let reading = async move {
            loop {
                let read = match &wanted {
                    Wanted::Values(refill) => fill::refill(&cell, refill).await,
                    Wanted::Rows(unread) => fill::rows_of(&cell, unread).await,
                };
                match read {
                    Ok(Some(refilled)) => {
                        // A follower that ended began anew, with everything.
                        let _ = done.send(refilled);
                        return;
                    }
                    Ok(None) => sleep(SOON).await,
                    Err(error) => {
                        tracing::warn!(
                            code = code_of(&error),
                            "what identities are looked up by is not read"
                        );
                        sleep(PAUSE).await;
                    }
                }
                if done.is_closed() {
                    return;
                }
            }
        };
        self.tracker
            .spawn(async move { stop.run_until_cancelled(reading).await });
    }

    /// Takes a piece of what was read in, as soon as the memory is as far as the tables were.
    fn take_in(&mut self, read: &mut Vec<Refilled>) -> Result<(), StoreError> {
        let position = self.inner.feed.position();
        let Some(place) = read
            .iter()
            .position(|refilled| refilled.position <= position)
        else {
            return Ok(());
        };
        let refilled = &mut read[place];
        let is_done = match &mut refilled.what {
            What::Values { refill, values } => {
                let left = values.len().saturating_sub(PIECE);
                let piece = values.split_off(left);
                let is_wanted = self.writer.refill(refill, &piece, position);
                if is_wanted && left == 0 {
                    self.writer.refilled(refill);
                }
                !is_wanted || left == 0
            }
            What::Rows { asked, rows } => {
                let rows: Result<Vec<_>, StoreError> = rows.iter().map(fill::customer).collect();
                self.writer.read(asked, refilled.position, &rows?)?;
                true
            }
        };
        if is_done {
            read.swap_remove(place);
            // What was read may wait for those who look for it.
            self.inner.feed.reach(position);
        }
        if !read.is_empty() {
            self.hint.notify_one();
        }
        Ok(())
    }
}

/// What is to be read from the tables.
enum Wanted {
    Values(Refill),
    Rows(Unread),
}

type Done = mpsc::UnboundedSender<Refilled>;
