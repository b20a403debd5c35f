//! What can be asked of a run.

use uuid::Uuid;

use super::{Page, Removals, RunStatus, Trigger};
use crate::meta::Principal;
use crate::{Personal, Timestamp};

/// A command on one run.
#[derive(Clone, Debug)]
pub enum SyncRunCommand {
    /// Let a worker take it.
    Queue {
        /// When.
        at: Timestamp,
        /// The run's own id: that of its stream.
        id: Uuid,
        /// Of which connection.
        connection_id: Uuid,
        /// Why.
        trigger: Trigger,
        /// Whether everything is asked for.
        is_full: bool,
        /// Whether nothing is written.
        dry_run: bool,
        /// Whether a person agrees to many deletions.
        confirms_deletes: bool,
        /// What kind of credential asked.
        principal: Principal,
        /// The subject of a token.
        subject: Personal<String>,
    },
    /// Let it go on where a run before had to stop.
    Continue {
        /// When.
        at: Timestamp,
        /// Where the walk goes on.
        place: String,
    },
    /// Begin to read.
    Start {
        /// When.
        at: Timestamp,
        /// From where on changes are asked for, as JSON text; `None` asks for everything.
        cursor: Option<String>,
        /// The connection's rows now.
        rows_before: u64,
    },
    /// Record pages.
    ApplyPage {
        /// When.
        at: Timestamp,
        /// What they were.
        page: Box<Page>,
    },
    /// Record rows that were taken away after the walk.
    ApplyRemovals {
        /// When.
        at: Timestamp,
        /// What became of them.
        removals: Removals,
    },
    /// Begin the walk anew.
    RestartWalk {
        /// When.
        at: Timestamp,
        /// Whether the source forgot the cursor, so that everything is asked for.
        forgets_cursor: bool,
    },
    /// Note that its worker went.
    Interrupt {
        /// When.
        at: Timestamp,
    },
    /// Stop after the page at hand.
    RequestCancel {
        /// When.
        at: Timestamp,
    },
    /// End it.
    Finish {
        /// When.
        at: Timestamp,
        /// How; a final status.
        status: RunStatus,
        /// Why it did not succeed, as a stable word.
        code: Option<String>,
        /// The same for people, in the source's own words where it said something: they may name somebody.
        message: Option<String>,
        /// When the source answers again.
        retry_at: Option<Timestamp>,
    },
    /// Forget the findings: their retention is over.
    Expire {
        /// When.
        at: Timestamp,
    },
}
