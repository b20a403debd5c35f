//! What can be asked of an import.

use uuid::Uuid;

use super::{Counts, EmptyCells, ImportStatus, OnConflict, StoredIssue};
use crate::Timestamp;

/// A command on one import.
#[derive(Clone, Debug)]
pub enum ImportCommand {
    /// Start an import whose body is staged completely.
    Start {
        /// When.
        at: Timestamp,
        /// The import's own id: that of its stream.
        id: Uuid,
        /// The provider of the tag that rows get, such as `csv_file`.
        provider: String,
        /// The byte between cells.
        delimiter: u8,
        /// What happens to rows whose customer exists.
        on_conflict: OnConflict,
        /// What an empty cell means.
        empty_cells: EmptyCells,
        /// Whether nothing is written.
        dry_run: bool,
        /// The cells of the header row.
        header: Vec<String>,
        /// Where the first data row starts in the staged UTF-8 text, in bytes.
        body_offset: u64,
        /// How many chunks are staged.
        staged_chunks: u32,
        /// How long the staged UTF-8 text is, in bytes.
        staged_bytes: u64,
    },
    /// Record what became of the next rows.
    ApplyChunk {
        /// When.
        at: Timestamp,
        /// Where the row after them starts, in bytes.
        next_offset: u64,
        /// How many rows were read.
        rows: u64,
        /// What became of them.
        counts: Counts,
        /// How many warnings there were.
        warnings: u64,
        /// The findings that are kept.
        issues: Vec<StoredIssue>,
    },
    /// Stop before the next chunk.
    RequestCancel {
        /// When.
        at: Timestamp,
    },
    /// End the import.
    Finish {
        /// When.
        at: Timestamp,
        /// How it ended; a final status.
        status: ImportStatus,
        /// Why it did not complete. Never about a person.
        reason: Option<String>,
    },
    /// Forget the findings: their retention is over.
    Expire {
        /// When.
        at: Timestamp,
    },
}
