//! The rules of an identity.

use super::{Identity, IdentityCommand, IdentityEvent, IdentityRefusal};

/// The events that a command causes; none where nothing changes.
pub fn decide(
    identity: &Identity,
    command: &IdentityCommand,
) -> Result<Vec<IdentityEvent>, IdentityRefusal> {
    match command {
        IdentityCommand::Block { .. } if identity.is_forgotten => {
            Err(IdentityRefusal::IdentityForgotten)
        }
        IdentityCommand::Block { customer_ref, .. } if identity.blocks(*customer_ref) => {
            Ok(Vec::new())
        }
        IdentityCommand::Block {
            at,
            identity,
            customer_ref,
        } => Ok(vec![IdentityEvent::Blocked {
            at: *at,
            channel: identity.channel.clone(),
            external_user_id: identity.external_user_id.clone().into(),
            customer_ref: *customer_ref,
        }]),
        IdentityCommand::Unblock { at, customer_ref } if identity.blocks(*customer_ref) => {
            Ok(vec![if identity.blocked.len() == 1 {
                IdentityEvent::Forgotten { at: *at }
            } else {
                IdentityEvent::Unblocked {
                    at: *at,
                    customer_ref: *customer_ref,
                }
            }])
        }
        IdentityCommand::Unblock { .. } => Ok(Vec::new()),
    }
}
