//! The rules of the wildcard of a channel.

use super::{ChannelAccess, ChannelAccessCommand, ChannelAccessEvent, ChannelAccessRefusal};

/// The events that a command causes; none where nothing changes.
pub fn decide(
    access: &ChannelAccess,
    command: &ChannelAccessCommand,
) -> Result<Vec<ChannelAccessEvent>, ChannelAccessRefusal> {
    match command {
        ChannelAccessCommand::Grant { terms, .. } if access.terms.as_ref() == Some(terms) => {
            Ok(Vec::new())
        }
        ChannelAccessCommand::Grant { at, channel, terms } => {
            Ok(vec![ChannelAccessEvent::Granted {
                at: *at,
                channel: access.channel.clone().unwrap_or_else(|| channel.clone()),
                terms: terms.clone(),
            }])
        }
        ChannelAccessCommand::Revoke { at } if access.terms.is_some() => {
            Ok(vec![ChannelAccessEvent::Revoked { at: *at }])
        }
        ChannelAccessCommand::Revoke { .. } => Err(ChannelAccessRefusal::GrantNotFound),
    }
}
