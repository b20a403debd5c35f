//! Why a command on a purge is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeRefusal {
    /// No such purge, or an expired one.
    #[error("the purge does not exist")]
    PurgeNotFound,
    /// The filter would match everybody.
    #[error("the filter needs a search or a data source")]
    RestrictiveFilterRequired,
    /// The confirmation names another project.
    #[error("confirm_project_id is not the id of the project")]
    ConfirmationRequired,
    /// More customers match than one purge takes.
    #[error("{matched} customers match, and one purge takes {limit}")]
    TooManyMatches {
        /// How many match.
        matched: u64,
        /// How many one purge takes.
        limit: u64,
    },
    /// Another number of customers matches than the caller expects.
    #[error("{matched} customers match now")]
    TotalChanged {
        /// How many match.
        matched: u64,
    },
    /// The purge was started before.
    #[error("the purge was started before")]
    AlreadyStarted,
    /// The purge ended.
    #[error("the purge is finished")]
    AlreadyFinished,
    /// The purge is not over.
    #[error("the purge is not finished")]
    NotFinished,
    /// The customers and what became of them differ.
    #[error("the counts do not add up to the customers")]
    CountsDisagree,
    /// The chunk does not start behind the one before.
    #[error("the chunk does not follow the one before")]
    OutOfOrder,
    /// A purge cannot end like this.
    #[error("the status is not a final one")]
    StatusNotFinal,
}
