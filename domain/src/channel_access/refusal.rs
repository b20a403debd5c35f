//! Why a command on the wildcard of a channel is refused.

/// A fact that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelAccessRefusal {
    /// The channel has no wildcard grant.
    #[error("the channel has no wildcard grant")]
    GrantNotFound,
}
