//! What can be asked of a purge.

use uuid::Uuid;

use super::{OpenFilter, PurgeCounts, PurgeStatus, StoredFailure};
use crate::meta::Principal;
use crate::{Personal, Timestamp};

/// A command on one purge.
#[derive(Clone, Debug)]
pub enum PurgeCommand {
    /// Start a purge whose customers are staged.
    Start {
        /// When.
        at: Timestamp,
        /// The purge's own id: that of its stream.
        id: Uuid,
        /// What the customers were found by; `None` where they were named.
        filter: Option<OpenFilter>,
        /// Whether they were found by values too, which are staged sealed.
        is_sought: bool,
        /// How many matched.
        matched: u64,
        /// How many of them are purged.
        total: u64,
        /// What kind of credential asks.
        principal: Principal,
        /// The subject of a token.
        subject: Personal<String>,
        /// The keyed hash of the request, by which the same one is known.
        request: Personal<String>,
    },
    /// Record what became of the next customers.
    ApplyChunk {
        /// When.
        at: Timestamp,
        /// How many came before them.
        from: u64,
        /// What became of them.
        counts: PurgeCounts,
        /// Those that could not be erased.
        failures: Vec<StoredFailure>,
    },
    /// Stop before the next chunk.
    RequestCancel {
        /// When.
        at: Timestamp,
    },
    /// End the purge.
    Finish {
        /// When.
        at: Timestamp,
        /// How it ended; a final status.
        status: PurgeStatus,
    },
    /// Forget who asked and whom it failed on: their retention is over.
    Expire {
        /// When.
        at: Timestamp,
    },
}
