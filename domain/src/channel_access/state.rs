//! The folded state of the wildcard of a channel.

use serde::{Deserialize, Serialize};

use super::ChannelAccessEvent;
use crate::Timestamp;
use crate::access::Terms;
use crate::stream::{Claim, Stream, kind};

/// The wildcard of one channel as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelAccess {
    /// The channel, once a grant was set.
    pub channel: Option<String>,
    /// The grant, while there is one.
    pub terms: Option<Terms>,
    /// When it was set.
    pub granted_at: Option<Timestamp>,
}

impl ChannelAccess {
    /// The state after one more event.
    pub fn fold(&mut self, event: ChannelAccessEvent) {
        match event {
            ChannelAccessEvent::Granted { at, channel, terms } => {
                *self = Self {
                    channel: Some(channel),
                    terms: Some(terms),
                    granted_at: Some(at),
                };
            }
            ChannelAccessEvent::Revoked { at: _ } => {
                self.terms = None;
                self.granted_at = None;
            }
        }
    }
}

impl Stream for ChannelAccess {
    const KIND: i16 = kind::CHANNEL_ACCESS;
    const STATE_VERSION: i32 = 1;

    /// The stream of a channel stays its own after a revocation, and is used again.
    fn claims(&self) -> Vec<Claim> {
        let channel = self.channel.as_deref();
        channel.map(Claim::channel_access).into_iter().collect()
    }
}
