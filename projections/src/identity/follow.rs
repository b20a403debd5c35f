//! The task that keeps the memory: fills it from the read tables, then follows the log.
//!
//! Own appends wake it in process, others' by a hint over NATS, and every 100 ms it asks the log where it ends. Only that
//! answer, once it was followed up, makes the memory fresh: silence proves nothing.
//!
//! While Postgres does not answer the memory is kept, and is not fresh. Whoever answers then must know what was applied last, for
//! it may be a standby that lost it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use roster_store::{Cell, Recorded, StoreError};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Inner;
use super::feed;
use super::fill::{self, Filled, Refilled, What};
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
    /// The last event that is in memory.
    last: Option<Last>,
    /// Who reads values for a project.
    refilling: HashMap<i32, AbortHandle>,
    /// Values are read for one project at a time.
    turn: Arc<Semaphore>,
}

/// Why the memory says nothing any more.
enum Lost {
    /// The directory is of another version.
    TablesVersion,
    /// The log is not the one that was followed.
    AnotherPast,
    /// The log or the tables could not be read.
    Failed(StoreError),
}

impl Lost {
    fn code(&self) -> String {
        match self {
            Self::TablesVersion => "tables_version".into(),
            Self::AnotherPast => "another_past".into(),
            Self::Failed(error) => code_of(error),
        }
    }
}

impl From<StoreError> for Lost {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What tells an event from the one that another log has at its position.
#[derive(PartialEq, Eq)]
struct Last {
    stream: Uuid,
    version: i32,
    recorded_at: DateTime<Utc>,
}

impl Last {
    const fn of(recorded: &Recorded) -> Self {
        Self {
            stream: recorded.stream,
            version: recorded.version,
            recorded_at: recorded.recorded_at,
        }
    }
}

impl Follower {
    pub(super) fn new(
        inner: Arc<Inner>,
        writer: Writer,
        hint: Arc<Notify>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            inner,
            writer,
            hint,
            tracker,
            stop,
            last: None,
            refilling: HashMap::new(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Runs until the stop.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let ended = stop.run_until_cancelled(self.live()).await;
            let Some(Err(lost)) = ended else {
                return;
            };
            self.inner.feed.lose();
            self.writer.clear();
            for (_, task) in self.refilling.drain() {
                task.abort();
            }
            tracing::warn!(code = lost.code(), "identities are looked up in Postgres");
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    /// Fills the memory and follows, until something goes wrong.
    async fn live(&mut self) -> Result<(), Lost> {
        let cell = self.inner.cell.clone();
        let started = Instant::now();
        let most = self.inner.options.most;
        let empty = Writer::new(Arc::clone(&self.inner.memory), most);
        let writer = std::mem::replace(&mut self.writer, empty);
        let (writer, filled) = fill::fill(&cell, writer).await?;
        self.writer = writer;
        let Filled { position, refills } = filled.ok_or(Lost::TablesVersion)?;
        self.last = last(&cell, position).await?;
        tracing::info!(
            position,
            size = self.writer.size(),
            millis = started.elapsed().as_millis(),
            "identities are in memory"
        );
        self.inner.feed.reach(position);
        self.follow(&cell, refills).await
    }

    async fn follow(&mut self, cell: &Cell, refills: Vec<Refill>) -> Result<(), Lost> {
        let mut head = cell.head();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (done, mut refilled) = mpsc::unbounded_channel();
        let mut read: Vec<Refilled> = Vec::new();
        let mut measured = Measured::new();
        let inner = Arc::clone(&self.inner);
        let hint = Arc::clone(&self.hint);
        for refill in refills {
            self.start(Wanted::Values(refill), done.clone());
        }
        loop {
            let followed = tokio::select! {
                changed = head.changed() => {
                    if changed.is_err() {
                        return Err(StoreError::Closed.into());
                    }
                    let to = *head.borrow_and_update();
                    self.catch_up(cell, to, &done).await
                }
                () = hint.notified() => self.read_on(cell, &done).await,
                () = inner.feed.asked() => self.look(cell, &done).await,
                _ = looks.tick() => {
                    measured.tell(&inner, &self.writer);
                    self.look(cell, &done).await
                }
                Some(more) = refilled.recv() => {
                    read.push(more);
                    Ok(())
                }
            };
            match followed {
                Err(Lost::Failed(error)) if error.is_transient() => {
                    self.recover(cell, &error).await?;
                }
                followed => followed?,
            }
            self.take_in(&mut read)?;
            if let Some(unread) = self.writer.next_unread() {
                self.start(Wanted::Rows(unread), done.clone());
            }
        }
    }

    /// Waits until Postgres answers again; fails where its log is not the one that was followed.
    async fn recover(&self, cell: &Cell, error: &StoreError) -> Result<(), Lost> {
        let code = code_of(error);
        tracing::warn!(
            code,
            "the log cannot be read; identities in memory are not fresh"
        );
        loop {
            sleep(LOOK).await;
            let position = self.inner.feed.position();
            match last(cell, position).await {
                Ok(last) if last == self.last => return Ok(()),
                Ok(_) => return Err(Lost::AnotherPast),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Looks where the log ends, and goes there.
    async fn look(&mut self, cell: &Cell, done: &Done) -> Result<(), Lost> {
        let before = feed::now();
        let end = cell.head_position().await?;
        if end < self.inner.feed.position() {
            return Err(Lost::AnotherPast);
        }
        self.catch_up(cell, end, done).await?;
        self.inner.feed.prove(before);
        Ok(())
    }

    async fn catch_up(&mut self, cell: &Cell, to: i64, done: &Done) -> Result<(), Lost> {
        while self.inner.feed.position() < to {
            if self.page(cell, done).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads whatever there is more.
    async fn read_on(&mut self, cell: &Cell, done: &Done) -> Result<(), Lost> {
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
        self.last = Some(Last::of(last));
        self.inner.feed.reach(last.position);
        for refill in refills {
            self.start(Wanted::Values(refill), done.clone());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads from the tables beside the following. Values that a later schema wants replace those that one before it wanted.
    fn start(&mut self, wanted: Wanted, done: Done) {
        let cell = self.inner.cell.clone();
        let stop = self.stop.clone();
        let turn = Arc::clone(&self.turn);
        let project_no = match &wanted {
            Wanted::Values(refill) => Some(refill.project_no),
            Wanted::Rows(_) => None,
        };
        let reading = async move {
            loop {
                let read = match &wanted {
                    Wanted::Values(refill) => {
                        let _turn = turn.acquire().await;
                        fill::refill(&cell, refill).await
                    }
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
        let task = self
            .tracker
            .spawn(async move { stop.run_until_cancelled(reading).await });
        if let Some(project_no) = project_no
            && let Some(before) = self.refilling.insert(project_no, task.abort_handle())
        {
            before.abort();
        }
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
            What::Rows {
                asked,
                rows,
                left_out,
            } => {
                let rows: Result<Vec<_>, StoreError> = rows.iter().map(fill::customer).collect();
                self.writer
                    .read(asked, refilled.position, &rows?, left_out)?;
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

/// The event that Postgres has at a position, whatever this server remembers of its own appends.
async fn last(cell: &Cell, position: i64) -> Result<Option<Last>, StoreError> {
    let row: Option<(Uuid, i32, DateTime<Utc>)> = sqlx::query_as(
        "SELECT stream_id, version, recorded_at FROM log_events WHERE position = $1",
    )
    .bind(position)
    .fetch_optional(cell.pool())
    .await?;
    Ok(row.map(|(stream, version, recorded_at)| Last {
        stream,
        version,
        recorded_at,
    }))
}

/// What is to be read from the tables.
enum Wanted {
    Values(Refill),
    Rows(Unread),
}

type Done = mpsc::UnboundedSender<Refilled>;
