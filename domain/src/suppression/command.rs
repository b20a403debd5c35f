//! What can be asked of a suppression.

use crate::{Personal, Timestamp};

/// A command on one suppressed id.
#[derive(Clone, Debug)]
pub enum SuppressionCommand {
    /// Suppress the id.
    Add {
        /// When.
        at: Timestamp,
        /// The canonical id.
        customer_user_id: Personal<String>,
    },
    /// Let imports and syncs write the id again.
    Remove {
        /// When.
        at: Timestamp,
    },
}
