//! The rules of a suppression.

use super::{Suppression, SuppressionCommand, SuppressionEvent, SuppressionRefusal};

/// The events that a command causes; none where nothing changes.
pub fn decide(
    suppression: &Suppression,
    command: &SuppressionCommand,
) -> Result<Vec<SuppressionEvent>, SuppressionRefusal> {
    match command {
        SuppressionCommand::Add { .. } if suppression.is_removed => {
            Err(SuppressionRefusal::SuppressionNotFound)
        }
        SuppressionCommand::Add { .. } if suppression.is_added() => Ok(Vec::new()),
        SuppressionCommand::Add {
            at,
            customer_user_id,
        } => Ok(vec![SuppressionEvent::Added {
            at: *at,
            customer_user_id: customer_user_id.clone(),
        }]),
        SuppressionCommand::Remove { at } if suppression.is_added() => {
            Ok(vec![SuppressionEvent::Removed { at: *at }])
        }
        SuppressionCommand::Remove { .. } => Err(SuppressionRefusal::SuppressionNotFound),
    }
}
