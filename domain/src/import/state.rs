//! The folded state of an import.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Counts, EmptyCells, ImportEvent, ImportStatus, OnConflict};
use crate::Timestamp;
use crate::stream::{Claim, Stream, claim_kind, kind};

/// One import as its events made it. Findings are not part of it: they are read from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The import's own id: that of its stream.
    pub id: Uuid,
    /// The provider of the tag that rows get.
    pub provider: String,
    /// The byte between cells.
    pub delimiter: u8,
    /// What happens to rows whose customer exists.
    pub on_conflict: OnConflict,
    /// What an empty cell means.
    pub empty_cells: EmptyCells,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// The cells of the header row.
    pub header: Vec<String>,
    /// Where the first data row starts in the staged UTF-8 text, in bytes.
    pub body_offset: u64,
    /// How many chunks are staged.
    pub staged_chunks: u32,
    /// How long the staged UTF-8 text is, in bytes.
    pub staged_bytes: u64,
    /// Where the next row starts, in bytes.
    pub next_offset: u64,
    /// How many rows are read.
    pub rows: u64,
    /// What became of them.
    pub counts: Counts,
    /// How many warnings there are.
    pub warnings: u64,
    /// How far it is.
    pub status: ImportStatus,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// Whether a person wants it to stop.
    pub cancel_requested: bool,
    /// When it started; `None` before.
    pub created_at: Option<Timestamp>,
    /// When the last event happened.
    pub updated_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether its retention is over.
    pub is_expired: bool,
}

impl Import {
    /// Whether there is such an import.
    pub const fn is_started(&self) -> bool {
        self.created_at.is_some()
    }

    /// How far it is by bytes, 0 to 100; 100 only once it completed.
    pub fn progress_pct(&self) -> u8 {
        if matches!(
            self.status,
            ImportStatus::Completed | ImportStatus::CompletedWithErrors
        ) {
            return 100;
        }
        let all = self.staged_bytes.saturating_sub(self.body_offset).max(1);
        let done = self.next_offset.saturating_sub(self.body_offset);
        u8::try_from((u128::from(done) * 100 / u128::from(all)).min(99)).unwrap_or(99)
    }

    /// The status of an import whose every row is read.
    pub const fn completed_status(&self) -> ImportStatus {
        if self.counts.failed == 0 {
            ImportStatus::Completed
        } else {
            ImportStatus::CompletedWithErrors
        }
    }

    /// The claim that an unfinished import holds.
    pub fn open_claim(id: Uuid) -> Claim {
        Claim {
            kind: claim_kind::OPEN_JOB,
            key: format!("import\0{id}"),
        }
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: ImportEvent) {
        match event {
            ImportEvent::Started {
                at,
                id,
                provider,
                delimiter,
                on_conflict,
                empty_cells,
                dry_run,
                header,
                body_offset,
                staged_chunks,
                staged_bytes,
            } => {
                *self = Self {
                    id,
                    provider,
                    delimiter,
                    on_conflict,
                    empty_cells,
                    dry_run,
                    header,
                    body_offset,
                    staged_chunks,
                    staged_bytes,
                    next_offset: body_offset,
                    created_at: Some(at),
                    updated_at: Some(at),
                    ..Self::default()
                };
            }
            ImportEvent::ChunkApplied {
                at,
                next_offset,
                rows,
                counts,
                warnings,
                issues: _,
            } => {
                self.next_offset = next_offset;
                self.rows = self.rows.saturating_add(rows);
                self.counts = self.counts.plus(counts);
                self.warnings = self.warnings.saturating_add(warnings);
                self.status = ImportStatus::Running;
                self.updated_at = Some(at);
            }
            ImportEvent::CancelRequested { at } => {
                self.cancel_requested = true;
                self.updated_at = Some(at);
            }
            ImportEvent::Finished { at, status, reason } => {
                self.status = status;
                self.reason = reason;
                self.finished_at = Some(at);
                self.updated_at = Some(at);
            }
            ImportEvent::Expired { at } => {
                self.is_expired = true;
                self.updated_at = Some(at);
            }
        }
    }
}

impl Stream for Import {
    const KIND: i16 = kind::IMPORT;
    const STATE_VERSION: i32 = 1;

    fn claims(&self) -> Vec<Claim> {
        let is_open = self.is_started() && !self.status.is_final();
        if is_open {
            vec![Self::open_claim(self.id)]
        } else {
            Vec::new()
        }
    }

    fn is_closed(&self) -> bool {
        self.is_expired
    }
}
