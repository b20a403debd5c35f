//! What is done but not recorded yet, and when it is worth a record.

use std::time::Duration;

use roster_domain::import::{Counts, Severity, StoredIssue};
use tokio::time::Instant;

/// Rows without a change after which their progress is recorded all the same.
const QUIET_ROWS: u64 = 20_000;
/// Time after which it is.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Findings after which it is: an event stays well under the size of a chunk.
const MANY_ISSUES: usize = 1_000;
/// Warnings whose text is kept; all are counted.
const KEPT_WARNINGS: u64 = 1_000;

/// What became of some rows.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// Where the row behind them starts.
    pub(crate) to: u64,
    pub(crate) rows: u64,
    pub(crate) counts: Counts,
    pub(crate) warnings: u64,
    pub(crate) issues: Vec<StoredIssue>,
}

impl Tally {
    /// Both together; the other one follows this one.
    pub(crate) fn then(mut self, next: Self) -> Self {
        self.issues.extend(next.issues);
        Self {
            to: next.to,
            rows: self.rows + next.rows,
            counts: self.counts.plus(next.counts),
            warnings: self.warnings + next.warnings,
            issues: self.issues,
        }
    }

    /// Whether rows that changed nothing are worth a record of their own.
    pub(crate) fn is_due(&self, last_record: Instant) -> bool {
        self.rows >= QUIET_ROWS
            || self.issues.len() >= MANY_ISSUES
            || (self.rows > 0 && last_record.elapsed() >= QUIET_TIME)
    }

    /// Drops the texts of warnings once enough are kept. Failed rows are always kept.
    pub(crate) fn drop_surplus_warnings(&mut self, recorded: u64) {
        if recorded >= KEPT_WARNINGS {
            self.issues
                .retain(|issue| issue.severity == Severity::Failed);
        }
    }
}
