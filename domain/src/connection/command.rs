//! What can be asked of a connection.

use uuid::Uuid;

use super::Settings;
use crate::Timestamp;
use crate::sync_run::{RunStatus, Trigger};

/// A command on one connection.
#[derive(Clone, Debug)]
pub enum ConnectionCommand {
    /// Create it, or settle it anew.
    Save {
        /// When.
        at: Timestamp,
        /// The connection's own id: that of its stream.
        id: Uuid,
        /// How.
        settings: Box<Settings>,
        /// The version that the caller saw.
        expected_version: Option<i32>,
    },
    /// Note a run that was queued.
    NoteQueued {
        /// When.
        at: Timestamp,
        /// Which.
        run_id: Uuid,
        /// Why.
        trigger: Trigger,
        /// Whether it asks for everything.
        is_full: bool,
    },
    /// Move the cursor to where the next run starts.
    MoveCursor {
        /// When.
        at: Timestamp,
        /// JSON text, as the source gave it.
        cursor: String,
    },
    /// Note how a run ended.
    NoteFinished {
        /// When.
        at: Timestamp,
        /// Which.
        run_id: Uuid,
        /// How.
        status: RunStatus,
        /// Why it did not succeed, as a stable word.
        code: Option<String>,
        /// When the source answers again.
        retry_at: Option<Timestamp>,
        /// Whether the cursor no longer counts.
        clears_cursor: bool,
    },
    /// End it for ever.
    Delete {
        /// When.
        at: Timestamp,
    },
}
