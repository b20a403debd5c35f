//! Why a command on a preparation is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreparationRefusal {
    /// No such job.
    #[error("the preparation does not exist")]
    PreparationNotFound,
    /// The job was started before.
    #[error("the preparation was started before")]
    AlreadyStarted,
    /// The job ended.
    #[error("the preparation is finished")]
    AlreadyFinished,
    /// The count is smaller than the one before.
    #[error("progress cannot go back")]
    ProgressWentBack,
}
