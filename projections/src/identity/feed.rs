//! How far the memory is, and how sure that is: a position, and when the end of the log was last seen there.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

/// An answer from memory is of a log that ended there so long ago, at most. With the time that a poll takes to be seen, and a
/// tick of the clock, it keeps the bound of 250 ms, whatever holds the one who follows up.
const FRESH: Duration = Duration::from_millis(200);
/// Without a look at the end of the log for so long the memory is not waited for.
const CUT_OFF: Duration = Duration::from_secs(1);
/// How long a look-up waits for a memory that is a little behind.
const PATIENCE: Duration = Duration::from_millis(100);

/// No look at the end of the log yet.
const NEVER: u64 = u64::MAX;

/// The clock of looks: as of the last tick of the kernel, 10 ms ago at most, and read in a quarter of the time of the exact one.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A time by the clock of looks.
pub(super) fn now() -> Duration {
    // It never says what is no duration; time that stands still there would be answered from for ever.
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or(Duration::MAX)
}

/// A position at which the memory may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) position: i64,
    /// How often everything had been lost by then.
    losses: u64,
}

/// The position of the memory.
pub(super) struct Feed {
    /// -1 while nothing is loaded.
    position: AtomicI64,
    /// Microseconds of the clock at the last look at the end of the log that was followed up.
    proven: AtomicU64,
    losses: AtomicU64,
    moved: watch::Sender<()>,
    asked: Notify,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self {
            position: AtomicI64::new(-1),
            proven: AtomicU64::new(NEVER),
            losses: AtomicU64::new(0),
            moved: watch::Sender::new(()),
            asked: Notify::new(),
        }
    }

    /// A position of the memory that shows what was shown before, and is fresh enough to answer from. Waits a moment for it.
    pub(super) async fn fresh(&self, shown: impl Fn() -> i64) -> Option<Moment> {
        if let Some(moment) = self.fresh_now(shown()) {
            return Some(moment);
        }
        if self.position() < 0 || self.age() > CUT_OFF {
            return None;
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut moved = self.moved.subscribe();
        // Read after the subscription, so that no move is missed. What is shown later need not be waited for.
        let shown = shown();
        loop {
            if let Some(moment) = self.fresh_now(shown) {
                return Some(moment);
            }
            self.asked.notify_one();
            if !matches!(timeout_at(until, moved.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    /// The same without waiting.
    pub(super) fn fresh_now(&self, shown: i64) -> Option<Moment> {
        let losses = self.losses();
        let position = self.position();
        let is_fresh = position >= 0 && position >= shown && self.age() <= FRESH;
        is_fresh.then_some(Moment { position, losses })
    }

    /// Whether nothing was lost since a moment: what was read in between may be trusted.
    pub(super) fn is_whole(&self, since: Moment) -> bool {
        self.losses() == since.losses
    }

    pub(super) fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    /// How long ago the memory was known to be as far as the log.
    pub(super) fn age(&self) -> Duration {
        match self.proven.load(Ordering::Acquire) {
            NEVER => Duration::MAX,
            proven => {
                let proven = Duration::from_micros(proven);
                now().saturating_sub(proven)
            }
        }
    }

    /// Everything up to a position is applied.
    pub(super) fn reach(&self, position: i64) {
        self.position.store(position, Ordering::Release);
        self.moved.send_replace(());
    }

    /// At this moment the log ended at a position that was reached since.
    pub(super) fn prove(&self, at: Duration) {
        let micros = u64::try_from(at.as_micros()).unwrap_or(NEVER);
        self.proven.store(micros, Ordering::Release);
        self.moved.send_replace(());
    }

    /// Nothing is loaded.
    pub(super) fn lose(&self) {
        self.position.store(-1, Ordering::SeqCst);
        self.proven.store(NEVER, Ordering::SeqCst);
        self.losses.fetch_add(1, Ordering::SeqCst);
    }

    /// How often everything was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// Returns when a look-up waits.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Feed, now};

    #[tokio::test]
    async fn what_was_shown_and_what_is_old_is_not_answered() {
        let feed = Feed::new();
        assert_eq!(feed.fresh(|| 0).await, None);
        feed.reach(7);
        // What is loaded may be old: nobody has seen the end of the log.
        assert_eq!(feed.fresh_now(7), None);
        // As good as now for as long as the test takes.
        feed.prove(now() + Duration::from_mins(10));
        let moment = feed.fresh_now(7).expect("it is fresh");
        assert_eq!(moment.position, 7);
        assert_eq!(feed.fresh_now(8), None);
        let (found, ()) = tokio::join!(feed.fresh(|| 8), async {
            tokio::task::yield_now().await;
            feed.reach(8);
        });
        assert_eq!(found.map(|moment| moment.position), Some(8));
        feed.prove(now().saturating_sub(Duration::from_mins(1)));
        assert_eq!(feed.fresh(|| 8).await, None);
        assert!(feed.is_whole(moment));
        feed.lose();
        assert!(!feed.is_whole(moment));
        assert_eq!(feed.fresh(|| 0).await, None);
        assert_eq!(feed.age(), Duration::MAX);
    }
}
