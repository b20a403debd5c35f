//! Time and ids as inputs, so that a test decides both.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use roster_domain::Timestamp;
use uuid::Uuid;

/// What time it is.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// Where new stream ids come from.
pub trait Ids: Send + Sync {
    /// An id that no stream has: version 7, so that new streams are neighbours in the index.
    fn stream_id(&self) -> Uuid;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the injected clock")]
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }
}

/// Version 7 ids of the machine's clock and random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is the injected id source")]
    fn stream_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that stands at the instant.
    pub const fn at(instant: Timestamp) -> Self {
        Self(AtomicI64::new(instant.0))
    }

    /// Moves the clock on.
    pub fn advance(&self, seconds: i64) {
        self.0
            .fetch_add(seconds.saturating_mul(1_000_000), Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Ids that count up from 1: version 7 in form, the same in every run.
#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl Ids for SequentialIds {
    fn stream_id(&self) -> Uuid {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, FixedClock, Ids, SequentialIds};
    use roster_domain::Timestamp;

    #[test]
    fn the_fixed_clock_moves_only_when_told() {
        let clock = FixedClock::at(Timestamp(5_000_000));
        clock.advance(2);
        assert_eq!(clock.now(), Timestamp(7_000_000));
    }

    #[test]
    fn sequential_ids_differ_and_look_like_version_7() {
        let ids = SequentialIds::default();
        let (first, second) = (ids.stream_id(), ids.stream_id());
        assert!(first < second);
        assert_eq!(second.get_version_num(), 7);
    }
}
