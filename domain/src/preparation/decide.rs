//! The rules of a preparation.

use super::state::MOST_DUPLICATES;
use super::{Preparation, PreparationCommand, PreparationEvent, PreparationRefusal};

/// The events that a command causes; none where nothing changes.
pub fn decide(
    preparation: &Preparation,
    command: &PreparationCommand,
) -> Result<Vec<PreparationEvent>, PreparationRefusal> {
    match command {
        PreparationCommand::Start { .. } if preparation.created_at.is_some() => {
            Err(PreparationRefusal::AlreadyStarted)
        }
        PreparationCommand::Start {
            at,
            schema_stream,
            definition,
            fields,
            total,
        } => Ok(vec![PreparationEvent::Started {
            at: *at,
            schema_stream: *schema_stream,
            definition: definition.clone(),
            fields: fields.clone(),
            total: *total,
        }]),
        _ if preparation.created_at.is_none() => Err(PreparationRefusal::PreparationNotFound),
        // A worker that resumes after a crash may end the job again.
        PreparationCommand::Finish { outcome, .. } if preparation.outcome == Some(*outcome) => {
            Ok(Vec::new())
        }
        _ if preparation.outcome.is_some() => Err(PreparationRefusal::AlreadyFinished),
        PreparationCommand::Progress { checked, .. } if *checked < preparation.checked => {
            Err(PreparationRefusal::ProgressWentBack)
        }
        PreparationCommand::Progress {
            at,
            checked,
            cursor,
        } => Ok(vec![PreparationEvent::Progressed {
            at: *at,
            checked: *checked,
            cursor: cursor.clone(),
        }]),
        PreparationCommand::ReportDuplicate {
            at,
            field,
            customer_ref,
            holder_ref,
        } => {
            let is_known = preparation.duplicates.iter().any(|known| {
                known.field == *field
                    && known.customer_ref == *customer_ref
                    && known.holder_ref == *holder_ref
            });
            if is_known || preparation.duplicates.len() >= MOST_DUPLICATES {
                return Ok(Vec::new());
            }
            Ok(vec![PreparationEvent::DuplicateFound {
                at: *at,
                field: field.clone(),
                customer_ref: *customer_ref,
                holder_ref: *holder_ref,
            }])
        }
        PreparationCommand::Finish { at, outcome } => Ok(vec![PreparationEvent::Finished {
            at: *at,
            outcome: *outcome,
        }]),
    }
}
