//! Which streams the directory's last pages were about, so that search need not read and open the log again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use roster_store::Recorded;
use uuid::Uuid;

/// How many are kept, at 40 bytes each.
const KEPT: usize = 200_000;

/// The events that change a listed customer.
const LISTED: [&str; 3] = ["customer.registered", "customer.updated", "customer.erased"];

/// What search needs to know of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) position: i64,
    pub(crate) stream: Uuid,
    pub(crate) project_no: i32,
    /// Whether it is about a listed customer.
    pub(crate) listed: bool,
    /// Whether the customer goes.
    pub(crate) scrubs: bool,
}

impl Touch {
    pub(crate) fn of(recorded: &Recorded) -> Self {
        let name = recorded.name();
        Self {
            position: recorded.position,
            stream: recorded.stream,
            project_no: recorded.project_no,
            listed: name.is_some_and(|name| LISTED.contains(&name)),
            scrubs: name == Some("customer.erased"),
        }
    }
}

/// The events of the directory's last pages.
#[derive(Default)]
pub(crate) struct Touched(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Everything after this position, up to `to`, is in the list; events that were left out are not.
    from: i64,
    to: i64,
    touches: VecDeque<Touch>,
}

impl Touched {
    /// Adds a page. One that does not follow the last begins the list anew.
    pub(crate) fn push(&self, from: i64, page: impl Iterator<Item = Touch>, to: i64) {
        let mut kept = self.lock();
        if kept.to != from {
            kept.touches.clear();
            kept.from = from;
        }
        kept.touches.extend(page);
        kept.to = to;
        while kept.touches.len() > KEPT {
            if let Some(oldest) = kept.touches.pop_front() {
                kept.from = oldest.position;
            }
        }
    }

    /// At most so many events after a position, if they are all known; the last one stands for those left out before it.
    pub(crate) fn after(&self, position: i64, limit: i64) -> Option<Vec<Touch>> {
        let kept = self.lock();
        if position < kept.from || position >= kept.to {
            return None;
        }
        let first = kept
            .touches
            .partition_point(|touch| touch.position <= position);
        let touches: Vec<Touch> = kept
            .touches
            .range(first..)
            .take(usize::try_from(limit).unwrap_or_default())
            .copied()
            .collect();
        (!touches.is_empty()).then_some(touches)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Touch, Touched};

    fn touch(position: i64) -> Touch {
        Touch {
            position,
            stream: Uuid::from_u128(1),
            project_no: 1,
            listed: true,
            scrubs: false,
        }
    }

    #[test]
    fn only_what_is_known_without_a_gap_is_given() {
        let touched = Touched::default();
        touched.push(10, [touch(11), touch(12)].into_iter(), 12);
        assert_eq!(touched.after(9, 5), None);
        assert_eq!(touched.after(10, 1), Some(vec![touch(11)]));
        assert_eq!(touched.after(11, 5), Some(vec![touch(12)]));
        assert_eq!(touched.after(12, 5), None);
        touched.push(20, [touch(21)].into_iter(), 21);
        assert_eq!(touched.after(11, 5), None);
    }
}
