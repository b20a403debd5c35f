//! Why a command on an identity is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// The stream ended: what is said of the identity from now on is another one.
    #[error("the identity was forgotten")]
    IdentityForgotten,
}
