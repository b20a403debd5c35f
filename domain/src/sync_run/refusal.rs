//! Why a command on a run is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncRunRefusal {
    /// No such run, or an expired one.
    #[error("the run does not exist")]
    RunNotFound,
    /// The run was queued before.
    #[error("the run was queued before")]
    AlreadyQueued,
    /// The run ended.
    #[error("the run is finished")]
    AlreadyFinished,
    /// The run is not over.
    #[error("the run is not finished")]
    NotFinished,
    /// The walk came to its end, or has not.
    #[error("the walk is at another place")]
    OutOfOrder,
    /// Rows are counted more than once.
    #[error("the counts do not add up")]
    CountsDisagree,
    /// A run cannot end like this.
    #[error("the status is not a final one")]
    StatusNotFinal,
}
