//! The folded state of a run.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Removals, RunStatus, SyncRunEvent, Trigger};
use crate::import::Counts;
use crate::meta::Principal;
use crate::stream::{Claim, Stream, claim_kind, kind};
use crate::{Personal, Timestamp};

/// One run as its events made it. Findings are not part of it: they are read from the log.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRun {
    /// The run's own id: that of its stream.
    pub id: Uuid,
    /// Of which connection.
    pub connection_id: Uuid,
    /// Why it started.
    pub trigger: Trigger,
    /// Whether everything is asked for.
    pub is_full: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Whether a person agrees to many deletions.
    pub confirms_deletes: bool,
    /// What kind of credential asked.
    pub principal: Principal,
    /// The connection's rows when it started.
    pub rows_before: u64,
    /// From where on changes are asked for.
    pub cursor_before: Personal<Option<String>>,
    /// The cursor that its pages led to.
    pub cursor_after: Personal<Option<String>>,
    /// Where the walk goes on.
    pub place: Personal<Option<String>>,
    /// Whether the walk began in a run before: this one has not seen what was read then, so it takes nobody away.
    pub is_continued: bool,
    /// Pages that are done.
    pub pages: u64,
    /// What became of the records.
    pub counts: Counts,
    /// What became of rows whose record is gone.
    pub removals: Removals,
    /// Values that were left out of records that were applied.
    pub warnings: u64,
    /// Rows of this walk that are known to be at the source.
    pub marked: u64,
    /// How often the walk began.
    pub walks: u32,
    /// Whether the walk came to its clean end.
    pub is_walked: bool,
    /// How far it is.
    pub status: RunStatus,
    /// Why it did not succeed, as a stable word.
    pub code: Option<String>,
    /// The same for people.
    pub message: Personal<Option<String>>,
    /// When the source answers again.
    pub retry_at: Option<Timestamp>,
    /// Whether a person wants it to stop.
    pub cancel_requested: bool,
    /// When it was queued; `None` before.
    pub created_at: Option<Timestamp>,
    /// When a worker began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether its retention is over.
    pub is_expired: bool,
}

impl SyncRun {
    /// Whether there is such a run.
    pub const fn is_queued(&self) -> bool {
        self.created_at.is_some()
    }

    /// The status of a run that did all that it could.
    pub const fn completed_status(&self) -> RunStatus {
        if self.counts.failed == 0 && self.removals.held_back == 0 {
            RunStatus::Succeeded
        } else {
            RunStatus::CompletedWithErrors
        }
    }

    /// Where a later full run of the same settings goes on: where this one stopped, because its source had enough of it.
    pub fn left_at(&self) -> Option<&String> {
        let is_left = self.status == RunStatus::RateLimited
            && self.is_full
            && !self.dry_run
            && !self.is_walked;
        let place = self.place.known().and_then(Option::as_ref);
        place.filter(|_| is_left)
    }

    /// Whether so many rows more may be taken away.
    pub const fn guard_lets(&self, more: u64, guard_pct: u8) -> bool {
        let gone = self.removals.disabled + self.removals.deleted + more;
        self.confirms_deletes
            || gone == 0
            || gone.saturating_mul(100) <= self.rows_before.saturating_mul(guard_pct as u64)
    }

    /// The claim that an unfinished run holds.
    pub fn open_claim(id: Uuid) -> Claim {
        Claim {
            kind: claim_kind::OPEN_JOB,
            key: format!("sync\0{id}"),
        }
    }

    /// The claim on a connection that is being synced.
    pub fn active_claim(connection_id: Uuid) -> Claim {
        Claim {
            kind: claim_kind::ACTIVE_RUN,
            key: connection_id.to_string(),
        }
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: SyncRunEvent) {
        match event {
            SyncRunEvent::Queued {
                at,
                id,
                connection_id,
                trigger,
                is_full,
                dry_run,
                confirms_deletes,
                principal,
                subject: _,
            } => {
                *self = Self {
                    id,
                    connection_id,
                    trigger,
                    is_full,
                    dry_run,
                    confirms_deletes,
                    principal,
                    cursor_before: Personal::Known(None),
                    cursor_after: Personal::Known(None),
                    place: Personal::Known(None),
                    message: Personal::Known(None),
                    created_at: Some(at),
                    ..Self::default()
                };
            }
            SyncRunEvent::WalkContinued { at: _, place } => {
                self.is_continued = true;
                self.place = match place {
                    Personal::Known(place) => Personal::Known(Some(place)),
                    Personal::Erased => Personal::Erased,
                };
            }
            SyncRunEvent::Started {
                at,
                is_full,
                cursor,
                rows_before,
            } => {
                self.is_full = is_full;
                self.cursor_before = cursor;
                self.rows_before = rows_before;
                self.walks = 1;
                self.started_at = Some(at);
                self.status = RunStatus::Running;
            }
            SyncRunEvent::PageApplied { at: _, page } => {
                self.pages += page.pages;
                self.counts = self.counts.plus(page.counts);
                self.removals = self.removals.plus(page.removals);
                self.warnings += page.warnings;
                self.marked += page.marked;
                self.place = page.place;
                if !matches!(page.cursor, Personal::Known(None)) {
                    self.cursor_after = page.cursor;
                }
                self.is_walked = page.ends_walk;
                self.status = RunStatus::Running;
            }
            SyncRunEvent::RemovalsApplied { at: _, removals } => {
                self.removals = self.removals.plus(removals);
                self.status = RunStatus::Running;
            }
            SyncRunEvent::WalkRestarted {
                at: _,
                forgets_cursor,
            } => {
                self.place = Personal::Known(None);
                self.is_continued = false;
                self.cursor_after = Personal::Known(None);
                self.marked = 0;
                self.walks += 1;
                self.is_full |= forgets_cursor;
                self.status = RunStatus::Running;
            }
            SyncRunEvent::Interrupted { at: _ } => self.status = RunStatus::Interrupted,
            SyncRunEvent::CancelRequested { at: _ } => self.cancel_requested = true,
            SyncRunEvent::Finished {
                at,
                status,
                code,
                message,
                retry_at,
            } => {
                self.status = status;
                self.code = code;
                self.message = message;
                self.retry_at = retry_at;
                self.finished_at = Some(at);
            }
            SyncRunEvent::Expired { at: _ } => self.is_expired = true,
        }
    }
}

impl Stream for SyncRun {
    const KIND: i16 = kind::SYNC_RUN;
    const STATE_VERSION: i32 = 2;

    fn claims(&self) -> Vec<Claim> {
        if !self.is_queued() || self.status.is_final() {
            return Vec::new();
        }
        vec![
            Self::open_claim(self.id),
            Self::active_claim(self.connection_id),
        ]
    }

    fn is_closed(&self) -> bool {
        self.is_expired
    }
}
