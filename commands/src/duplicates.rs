//! What stands against a schema that was prepared: the customers who have the same value of a field made unique.

use roster_domain::Problem;
use roster_domain::customer::Customer;
use roster_domain::preparation::Preparation;
use roster_domain::schema::{Definition, PendingStatus, ProjectSchema, Schema};
use roster_store::{Loaded, Project};

use crate::{CommandError, Directory};

/// Duplicates that a refusal names.
const NAMED_DUPLICATES: usize = 20;

impl Directory {
    /// The duplicates that an ended preparation of this definition found and that are still there, as problems.
    pub(crate) async fn remaining_duplicates(
        &self,
        project: &Project,
        definition: &Definition,
    ) -> Result<Vec<Problem>, CommandError> {
        let active = self
            .cell()
            .load_fresh::<ProjectSchema>(project, project.schema_stream)
            .await?;
        let wanted = definition.clone().normalised();
        let voided = active.state.pending.as_ref().filter(|pending| {
            pending.status == PendingStatus::Voided && pending.definition == wanted
        });
        let Some(pending) = voided else {
            return Ok(Vec::new());
        };
        let Ok(schema) = Schema::compile(wanted, active.state.version + 1) else {
            return Ok(Vec::new());
        };
        let job = self
            .cell()
            .load::<Preparation>(project, pending.preparation_id)
            .await?
            .state;
        let mut problems = Vec::new();
        for duplicate in &job.duplicates {
            let pair = [duplicate.customer_ref, duplicate.holder_ref];
            let states = self.cell().load_many::<Customer>(project, &pair).await?;
            let value = |loaded: &Loaded<Customer>| {
                let value = loaded
                    .state
                    .profile
                    .known()?
                    .get(duplicate.field.as_str())?;
                Some(
                    schema
                        .read_stored(&duplicate.field, value)
                        .ok()
                        .flatten()
                        .unwrap_or_else(|| value.clone()),
                )
            };
            let ids: Vec<&str> = states
                .iter()
                .filter_map(|loaded| loaded.state.customer_user_id.known().map(String::as_str))
                .collect();
            if let ([one, other], [customer, holder]) = (states.as_slice(), ids.as_slice())
                && value(one).is_some_and(|mine| value(other) == Some(mine))
            {
                let message =
                    format!("the customers '{holder}' and '{customer}' have the same value");
                problems.push(Problem::new(
                    ["fields", duplicate.field.as_str()],
                    "duplicate_value",
                    message,
                ));
            }
            if problems.len() == NAMED_DUPLICATES {
                break;
            }
        }
        Ok(problems)
    }
}
