//! Runs one projection: takes its lease, reads pages, has them applied and reports how far it is.
//!
//! What a page means is the projection's business; how a failed one is taken apart is [`crate::page`]'s.

pub(crate) mod ahead;
mod write;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roster_store::checkpoints::{self, Lease};
use roster_store::{Cell, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::page::PageError;
use crate::parked;
use crate::status::Shared;

/// How long a lease lasts without being renewed, in seconds.
pub(crate) const LEASE_SECONDS: f64 = 10.0;
/// How often a server without the lease tries to get it.
const TAKEOVER: Duration = Duration::from_secs(1);
/// How long an idle runner waits before it looks again: another server may append.
pub(crate) const IDLE: Duration = Duration::from_millis(200);
/// How often a server without the lease looks while somebody waits.
const IMPATIENT: Duration = Duration::from_millis(20);
const RENEWAL: Duration = Duration::from_secs(3);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// The largest page, in events.
const LARGEST_PAGE: i64 = 5_000;
const SMALLEST_PAGE: i64 = 256;
/// How long one page may take while somebody waits, in seconds.
const AWAITED_PAGE: f64 = 0.025;
/// How long one page may take otherwise, in seconds.
const QUIET_PAGE: f64 = 0.25;

/// One move of a checkpoint, made by the statement that writes the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) epoch: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What the runner needs to know of one event.
pub(crate) trait Item: Send + Sync {
    fn position(&self) -> i64;
    fn stream(&self) -> Uuid;
    fn project_no(&self) -> i32;
    /// Whether the event scrubs its stream: it is applied even where the stream is parked.
    fn scrubs(&self) -> bool;
}

/// A set of read tables that are kept by one checkpoint.
pub(crate) trait Projection: Send + Sync + 'static {
    const NAME: &'static str;
    /// Of the rows that this build writes. Raised with every change of what a row says: older tables are then rebuilt.
    const VERSION: i32;
    /// Tables with personal values that a rebuild keeps beside the live ones, and the statement that takes those of the
    /// streams `$1` out of `{table}`. It leaves what the erasure, when it is applied there later, needs for counts.
    const SCRUB: &'static [(&'static str, &'static str)] = &[];
    /// Whether bulk work waits for this projection while interactive commands come in.
    const PACES_BULK: bool = false;
    type Item: Item;

    /// Drops everything remembered: another runner may have written, or a page failed.
    fn forget(&mut self);

    /// The next events after a position.
    fn read(
        &mut self,
        after: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self::Item>, StoreError>> + Send;

    /// Returns when there may be more to read, or after about [`IDLE`].
    fn wait(&mut self, position: i64) -> impl Future<Output = ()> + Send;

    /// Writes the effects of some events and moves the checkpoint, all or nothing.
    fn apply(
        &mut self,
        page: &[&Self::Item],
        step: Step,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Writes one stream anew from its first event up to the checkpoint, which stays where it is.
    fn refold(
        &mut self,
        project_no: i32,
        stream: Uuid,
        step: Step,
    ) -> impl Future<Output = Result<(), PageError>> + Send;
}

/// The task of one projection.
pub(crate) struct Runner<P> {
    pub(crate) cell: Cell,
    pub(crate) projection: P,
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: String,
    pub(crate) stop: CancellationToken,
    /// Called with each position that can be read.
    pub(crate) on_position: Box<dyn Fn(i64) + Send + Sync>,
}

/// Why a runner gave its lease up.
enum Ended {
    Stopped,
    Fenced,
    Failed(Duration),
}

struct Leading {
    lease: Lease,
    position: i64,
    parked: HashSet<Uuid>,
    touched: Instant,
    /// When it was looked last whether parked streams are to be folded anew.
    looked: Instant,
    /// Seconds an event takes, smoothed.
    cost: f64,
}

impl Leading {
    fn limit(&self, awaited: bool) -> i64 {
        let time = if awaited { AWAITED_PAGE } else { QUIET_PAGE };
        #[expect(clippy::cast_possible_truncation, reason = "clamped to a small range")]
        let limit = (time / self.cost.max(1e-7)) as i64;
        limit.clamp(SMALLEST_PAGE, LARGEST_PAGE)
    }

    fn learn(&mut self, events: usize, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "pages are small")]
        let cost = took.as_secs_f64() / (events.max(32) as f64);
        self.cost = self.cost * 0.8 + cost * 0.2;
    }
}

impl<P: Projection> Runner<P> {
    /// Runs until the stop.
    pub(crate) async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let lease = checkpoints::acquire(
                self.cell.pool(),
                P::NAME,
                P::VERSION,
                &self.owner,
                LEASE_SECONDS,
            )
            .await;
            match lease {
                Ok(Some(lease)) if lease.version != P::VERSION => {
                    self.shared.refuse(lease.version);
                    self.reach(lease.position);
                    self.release(lease).await;
                    self.pause(TAKEOVER).await;
                }
                Ok(Some(lease)) => {
                    self.shared.lead(&self.owner);
                    let ended = self.lead(lease).await;
                    self.shared.resign();
                    self.projection.forget();
                    if !matches!(ended, Ended::Fenced) {
                        self.release(lease).await;
                    }
                    if let Ended::Failed(pause) = ended {
                        self.pause(pause).await;
                    }
                }
                Ok(None) => self.follow().await,
                Err(error) => {
                    self.shared.fail("checkpoint", &error);
                    self.pause(IDLE).await;
                }
            }
        }
    }

    /// Follows the checkpoint that another server, or a rebuild, moves; returns when it is time to ask for the lease again.
    async fn follow(&self) {
        let until = Instant::now() + TAKEOVER;
        while Instant::now() < until && !self.stop.is_cancelled() {
            match checkpoints::position(self.cell.pool(), P::NAME).await {
                Ok((position, owner)) => {
                    self.shared.follow(owner.as_deref());
                    self.reach(position);
                    if owner.is_none() {
                        return;
                    }
                }
                Err(error) => self.shared.fail("checkpoint", &error),
            }
            // A waiter that comes during a long pause is served after a short one.
            let rested = Instant::now() + IDLE;
            self.pause(IMPATIENT).await;
            while Instant::now() < rested && !self.is_awaited() && !self.stop.is_cancelled() {
                self.pause(IMPATIENT).await;
            }
        }
    }

    async fn lead(&mut self, lease: Lease) -> Ended {
        let parked = match parked::streams(self.cell.pool(), P::NAME).await {
            Ok(parked) => parked,
            Err(error) => {
                self.shared.fail("parked", &error.into());
                return Ended::Failed(IDLE);
            }
        };
        self.shared.parked(parked.len());
        let mut leading = Leading {
            lease,
            position: lease.position,
            parked,
            touched: Instant::now(),
            looked: Instant::now(),
            cost: 2e-5,
        };
        self.reach(leading.position);
        loop {
            if self.stop.is_cancelled() {
                return Ended::Stopped;
            }
            if leading.looked.elapsed() > RENEWAL {
                leading.looked = Instant::now();
                if let Err(ended) = self.unpark(&mut leading).await {
                    return ended;
                }
            }
            let awaited = self.is_awaited();
            let started = Instant::now();
            let page = match self
                .projection
                .read(leading.position, leading.limit(awaited))
                .await
            {
                Ok(page) => page,
                Err(error) => {
                    self.shared.fail("read", &error);
                    // Postgres may have lost its last commits: taking the lease anew reads the checkpoint.
                    return Ended::Failed(if error.is_transient() {
                        IDLE
                    } else {
                        LONGEST_BACKOFF
                    });
                }
            };
            if page.is_empty() {
                if let Err(ended) = self.idle(&mut leading).await {
                    return ended;
                }
                continue;
            }
            match self.write(&mut leading, &page).await {
                Ok(()) => {
                    self.shared.recover();
                    leading.touched = Instant::now();
                    leading.learn(page.len(), started.elapsed());
                    self.shared.page(page.len(), started.elapsed());
                }
                Err(ended) => return ended,
            }
        }
    }

    /// Keeps the lease and waits for more.
    async fn idle(&mut self, leading: &mut Leading) -> Result<(), Ended> {
        if leading.touched.elapsed() > RENEWAL {
            match checkpoints::renew(
                self.cell.pool(),
                P::NAME,
                leading.lease.epoch,
                leading.position,
                LEASE_SECONDS,
            )
            .await
            {
                Ok(true) => {
                    leading.touched = Instant::now();
                    self.shared.recover();
                }
                Ok(false) => return Err(Ended::Fenced),
                Err(error) => {
                    self.shared.fail("renew", &error);
                    return Err(Ended::Failed(IDLE));
                }
            }
        }
        let stop = self.stop.clone();
        tokio::select! {
            () = self.projection.wait(leading.position) => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    const fn step(leading: &Leading, to: i64) -> Step {
        Step {
            name: P::NAME,
            epoch: leading.lease.epoch,
            from: leading.position,
            to,
        }
    }

    /// Whether somebody waits for what this projection writes.
    fn is_awaited(&self) -> bool {
        self.shared.progress.awaited() || (P::PACES_BULK && self.cell.holds_bulk_back())
    }

    fn reach(&self, position: i64) {
        self.shared.progress.reach(position);
        (self.on_position)(position);
    }

    async fn release(&self, lease: Lease) {
        if let Err(error) = checkpoints::release(self.cell.pool(), P::NAME, lease.epoch).await {
            tracing::warn!(projection = P::NAME, %error, "the lease could not be given back");
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }
}
