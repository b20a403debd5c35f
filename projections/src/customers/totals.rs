//! Filters that more than [`BOUND`] customers pass, so that the pages of a list do not all count them again.
//!
//! An event is about one customer, so of those who were counted at one position of the read table all but one an event still
//! pass at another. Who counts goes a little beyond the bound for that. A parked stream that is mended meanwhile is not
//! seen: it is one customer.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use super::shape::BOUND;

/// How many filters are kept.
const KEPT: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// Counts of filters that more than 10,000 customers pass. Each server has its own.
pub struct Totals(Mutex<LruCache<i64, Counted>>);

/// So many passed, at a position from the first to the last one.
#[derive(Clone, Copy)]
struct Counted {
    passed: i64,
    first: i64,
    last: i64,
}

impl Default for Totals {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl std::fmt::Debug for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Totals").finish_non_exhaustive()
    }
}

impl Totals {
    /// Keeps what was counted after the read table had been at `first` and before it was at `last`.
    pub(super) fn keep(&self, set: i64, passed: i64, first: i64, last: i64) {
        let counted = Counted {
            passed,
            first,
            last,
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put(set, counted);
    }

    /// Whether more than [`BOUND`] pass for sure where the read table is at a position.
    pub(super) fn is_beyond(&self, set: i64, position: i64) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&set).is_some_and(|counted| {
            let events = position
                .abs_diff(counted.first)
                .max(position.abs_diff(counted.last));
            i64::try_from(events).is_ok_and(|events| counted.passed.saturating_sub(events) > BOUND)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUND, Totals};

    #[test]
    fn a_count_is_good_for_as_many_events_as_it_is_beyond_the_bound() {
        let totals = Totals::default();
        assert!(!totals.is_beyond(7, 100));
        totals.keep(7, BOUND + 11, 100, 103);
        for (position, is_beyond) in [
            (100, true),
            (110, true),
            (111, false),
            (93, true),
            (92, false),
        ] {
            assert_eq!(totals.is_beyond(7, position), is_beyond, "{position}");
        }
        assert!(!totals.is_beyond(8, 100));
        totals.keep(7, BOUND + 1, 200, 200);
        assert!(
            totals.is_beyond(7, 200) && !totals.is_beyond(7, 201) && !totals.is_beyond(7, i64::MIN)
        );
    }
}
