//! How far a projection is, and who waits for it.
//!
//! A waiter is woken once, when its position is reached; others sleep on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// The position of one projection, as this server knows it.
pub(crate) struct Progress {
    position: AtomicI64,
    tickets: AtomicU64,
    waiters: Mutex<BTreeMap<(i64, u64), oneshot::Sender<()>>>,
}

impl Progress {
    pub(crate) const fn new() -> Self {
        Self {
            position: AtomicI64::new(-1),
            tickets: AtomicU64::new(0),
            waiters: Mutex::new(BTreeMap::new()),
        }
    }

    /// The last position whose effects can be read; -1 before the first look.
    pub(crate) fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    /// Whether somebody waits.
    pub(crate) fn awaited(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Reports a position. It falls back only where Postgres lost its last commits.
    pub(crate) fn reach(&self, position: i64) {
        let mut waiters = self.lock();
        self.position.store(position, Ordering::Release);
        let later = waiters.split_off(&(position + 1, 0));
        let reached = std::mem::replace(&mut *waiters, later);
        drop(waiters);
        for waiter in reached.into_values() {
            // A waiter that gave up is gone; nothing is lost.
            let _ = waiter.send(());
        }
    }

    /// Waits until a position can be read; false after the timeout.
    pub(crate) async fn wait_for(&self, position: i64, timeout: Duration) -> bool {
        if self.position() >= position {
            return true;
        }
        let key = (position, self.tickets.fetch_add(1, Ordering::Relaxed));
        let woken = {
            let mut waiters = self.lock();
            if self.position() >= position {
                return true;
            }
            let (waiter, woken) = oneshot::channel();
            waiters.insert(key, waiter);
            woken
        };
        let registration = Registration {
            progress: self,
            key,
        };
        let reached = matches!(tokio::time::timeout(timeout, woken).await, Ok(Ok(())));
        drop(registration);
        reached
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(i64, u64), oneshot::Sender<()>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a waiter off the list when its request ends, however it ends.
struct Registration<'a> {
    progress: &'a Progress,
    key: (i64, u64),
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.progress.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Progress;

    #[tokio::test]
    async fn a_waiter_wakes_when_its_position_is_reached() {
        let progress = Progress::new();
        let (reached, missed, ()) = tokio::join!(
            progress.wait_for(7, Duration::from_secs(5)),
            progress.wait_for(9, Duration::from_millis(20)),
            async {
                progress.reach(3);
                tokio::task::yield_now().await;
                progress.reach(8);
            }
        );
        assert!(reached);
        assert!(!missed);
        assert!(!progress.awaited());
    }

    #[tokio::test]
    async fn a_position_that_was_reached_needs_no_waiting() {
        let progress = Progress::new();
        progress.reach(4);
        assert!(progress.wait_for(4, Duration::ZERO).await);
    }
}
