//! Why a command on an import is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefusal {
    /// No such import, or an expired one.
    #[error("the import does not exist")]
    ImportNotFound,
    /// The import was started before.
    #[error("the import was started before")]
    AlreadyStarted,
    /// The import ended.
    #[error("the import is finished")]
    AlreadyFinished,
    /// The import is not over.
    #[error("the import is not finished")]
    NotFinished,
    /// The rows of a chunk and what became of them differ.
    #[error("the counts do not add up to the rows")]
    CountsDisagree,
    /// The chunk does not start behind the one before, or ends behind the text.
    #[error("the offset is not behind the one before")]
    OffsetOutOfOrder,
    /// An import cannot end like this.
    #[error("the status is not a final one")]
    StatusNotFinal,
}
