//! One person's address on one channel.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stream::Claim;
use crate::value::identity;

/// The external user id that stands for everybody on a channel.
pub const WILDCARD: &str = "*";

/// A channel and the normalised external user id on it. `Debug` never shows the id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectorIdentity {
    /// The canonical name of the channel.
    pub channel: String,
    /// The canonical external user id: it names a person.
    pub external_user_id: String,
}

impl ConnectorIdentity {
    /// The identity of a text that arrived at run time; `None` where the text is none, or the wildcard.
    pub fn read(channel: &str, text: &str) -> Option<Self> {
        let external_user_id = identity::canonical(channel, text)?;
        (external_user_id != WILDCARD).then(|| Self {
            channel: channel.to_owned(),
            external_user_id,
        })
    }

    /// What keeps two customers from having it.
    pub fn claim(&self) -> Claim {
        Claim::connector_identity(&self.channel, &self.external_user_id)
    }
}

impl fmt::Debug for ConnectorIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:<personal>", self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectorIdentity;

    #[test]
    fn the_wildcard_is_nobody() {
        assert_eq!(ConnectorIdentity::read("line", " * "), None);
        assert!(ConnectorIdentity::read("line", "**").is_some());
    }

    #[test]
    fn debug_shows_the_channel_only() {
        let identity = ConnectorIdentity::read("sms", "+49 170 1234567").expect("a number");
        assert_eq!(format!("{identity:?}"), "sms:<personal>");
    }
}
