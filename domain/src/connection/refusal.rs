//! Why a command on a connection is refused.

use uuid::Uuid;

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRefusal {
    /// No such connection, or a deleted one.
    #[error("the connection does not exist")]
    ConnectionNotFound,
    /// Somebody changed it meanwhile.
    #[error("the connection is at version {current}")]
    VersionConflict {
        /// The version that it has.
        current: i32,
    },
    /// A connection keeps its source: its rows are of there.
    #[error("the provider of a connection cannot change")]
    ProviderFixed,
    /// A run of it goes on.
    #[error("the connection is being synced")]
    RunInProgress {
        /// Which run.
        run_id: Uuid,
    },
}
