//! What the memory costs and does, as metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Inner;
use super::memory::Writer;
use crate::status::as_float;

/// How often they are told.
const TOLD: Duration = Duration::from_secs(1);
/// How often memory is measured: it walks every part.
const WEIGHED: Duration = Duration::from_secs(10);

/// Look-ups by where they were answered.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) from_memory: AtomicU64,
    pub(super) from_tables: AtomicU64,
}

/// When what was told.
pub(super) struct Measured {
    told: Option<Instant>,
    weighed: Option<Instant>,
}

impl Measured {
    pub(super) const fn new() -> Self {
        Self {
            told: None,
            weighed: None,
        }
    }

    pub(super) fn tell(&mut self, inner: &Inner, writer: &Writer) {
        let is_due = |at: Option<Instant>, every| at.is_none_or(|at| at.elapsed() >= every);
        if !is_due(self.told, TOLD) {
            return;
        }
        self.told = Some(Instant::now());
        let count = |from, count: &AtomicU64| {
            metrics::counter!("roster_identity_lookups_total", "from" => from)
                .absolute(count.load(Ordering::Relaxed));
        };
        count("memory", &inner.counts.from_memory);
        count("tables", &inner.counts.from_tables);
        metrics::counter!("roster_identity_cache_losses_total").absolute(inner.feed.losses());
        metrics::gauge!("roster_identity_cache_age_seconds").set(inner.feed.age().as_secs_f64());
        metrics::gauge!("roster_identity_cache_position").set(as_float(inner.feed.position()));
        let size = i64::try_from(writer.size()).unwrap_or(i64::MAX);
        metrics::gauge!("roster_identity_cache_entries").set(as_float(size));
        let left_out = i64::try_from(inner.memory.left_out()).unwrap_or(i64::MAX);
        metrics::gauge!("roster_identity_cache_projects_left_out").set(as_float(left_out));
        if is_due(self.weighed, WEIGHED) {
            self.weighed = Some(Instant::now());
            let weight = inner.memory.weight();
            let bytes = i64::try_from(weight.structures + weight.texts).unwrap_or(i64::MAX);
            metrics::gauge!("roster_identity_cache_bytes").set(as_float(bytes));
        }
    }
}
