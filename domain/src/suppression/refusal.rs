//! Why a command on a suppression is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuppressionRefusal {
    /// The id is not suppressed.
    #[error("the id is not suppressed")]
    SuppressionNotFound,
}
