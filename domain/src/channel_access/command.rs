//! What can be asked of the wildcard of a channel.

use crate::Timestamp;
use crate::access::Terms;

/// A command on the wildcard of one channel.
#[derive(Clone, Debug)]
pub enum ChannelAccessCommand {
    /// Set what everybody may use.
    Grant {
        /// When.
        at: Timestamp,
        /// The canonical name of the channel.
        channel: String,
        /// Which agents, and whether.
        terms: Terms,
    },
    /// Take it away.
    Revoke {
        /// When.
        at: Timestamp,
    },
}
