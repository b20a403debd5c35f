//! The rules of a project's schema.

use uuid::Uuid;

use super::change::{preparation_fields, primary_key_changed};
use super::state::{Pending, PendingStatus};
use super::{Definition, ProjectSchema, SchemaCommand, SchemaEvent, SchemaRefusal};
use crate::Timestamp;

/// The events that a command causes; none where nothing changes.
pub fn decide(
    schema: &ProjectSchema,
    command: &SchemaCommand,
) -> Result<Vec<SchemaEvent>, SchemaRefusal> {
    match command {
        SchemaCommand::Replace {
            at,
            definition,
            expected_version,
            has_customers,
            preparation_id,
            force_ready,
        } => {
            let wanted = Wanted {
                at: *at,
                definition: definition.clone().normalised(),
                preparation_id: *preparation_id,
                needs_nothing: !has_customers || *force_ready,
            };
            replace(schema, wanted, *expected_version, *has_customers)
        }
        SchemaCommand::VoidPreparation {
            at,
            preparation_id,
            field,
        } => Ok(pending(schema, *preparation_id)
            .filter(|pending| pending.status != PendingStatus::Voided)
            .map(|_| SchemaEvent::PreparationVoided {
                at: *at,
                preparation_id: *preparation_id,
                field: field.clone(),
            })
            .into_iter()
            .collect()),
        SchemaCommand::EndPreparation {
            at,
            preparation_id,
            ready,
        } => Ok(pending(schema, *preparation_id)
            .filter(|pending| pending.status == PendingStatus::Running)
            .map(|_| SchemaEvent::PreparationEnded {
                at: *at,
                preparation_id: *preparation_id,
                ready: *ready,
            })
            .into_iter()
            .collect()),
    }
}

struct Wanted {
    at: Timestamp,
    definition: Definition,
    preparation_id: Uuid,
    needs_nothing: bool,
}

fn replace(
    schema: &ProjectSchema,
    wanted: Wanted,
    expected_version: Option<i32>,
    has_customers: bool,
) -> Result<Vec<SchemaEvent>, SchemaRefusal> {
    // A repeated request must find what the first one did, whatever version it expected.
    if wanted.definition == schema.definition {
        return Ok(Vec::new());
    }
    let problems = wanted.definition.check();
    if !problems.is_empty() {
        return Err(SchemaRefusal::Invalid(problems));
    }
    if expected_version.is_some_and(|expected| expected != schema.version) {
        return Err(SchemaRefusal::VersionConflict {
            current: schema.version,
        });
    }
    if has_customers && primary_key_changed(&schema.definition, &wanted.definition) {
        return Err(SchemaRefusal::PrimaryKeyFixed);
    }
    let fields = preparation_fields(&schema.definition, &wanted.definition);
    let same = schema
        .pending
        .as_ref()
        .filter(|pending| pending.definition == wanted.definition);
    let replaced = |preparation_id| SchemaEvent::Replaced {
        at: wanted.at,
        version: schema.version + 1,
        definition: wanted.definition.clone(),
        preparation_id,
    };
    match same.map(|pending| (pending.status, pending.preparation_id)) {
        same if fields.is_empty() || wanted.needs_nothing => {
            Ok(vec![replaced(same.map(|(_, id)| id))])
        }
        Some((PendingStatus::Ready, id)) => Ok(vec![replaced(Some(id))]),
        Some((PendingStatus::Running, preparation_id)) => {
            Err(SchemaRefusal::PreparationRunning { preparation_id })
        }
        Some((PendingStatus::Voided, _)) | None => Ok(vec![SchemaEvent::PreparationStarted {
            at: wanted.at,
            preparation_id: wanted.preparation_id,
            definition: wanted.definition,
            fields,
        }]),
    }
}

fn pending(schema: &ProjectSchema, preparation_id: Uuid) -> Option<&Pending> {
    schema
        .pending
        .as_ref()
        .filter(|pending| pending.preparation_id == preparation_id)
}
