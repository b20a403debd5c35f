//! Find a customer by a value that only one customer has.

use roster_domain::Problem;
use roster_domain::schema::Schema;
use roster_domain::stream::Claim;
use roster_domain::value::Input;
use roster_store::Project;
use uuid::Uuid;

use crate::authority::Operation;
use crate::{CommandError, Context, Directory};

/// What a customer is found by.
#[derive(Clone)]
pub enum FindBy {
    /// The customer id.
    Id(String),
    /// The value of a unique field, or of the primary key.
    Field(String, Input),
}

impl std::fmt::Debug for FindBy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(_) => formatter.write_str("Id(<personal>)"),
            Self::Field(name, _) => write!(formatter, "Field({name}, <personal>)"),
        }
    }
}

impl Directory {
    /// The stream of a customer, from the claims of the log: it never lags. Who may ask for it is who may do what it is
    /// wanted for.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] where the field is not unique or the value is not one of its type.
    pub async fn find_customer(
        &self,
        ctx: &Context,
        wanted_for: Operation,
        by: FindBy,
    ) -> Result<Option<Uuid>, CommandError> {
        ctx.authorise(wanted_for)?;
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(None);
        };
        let active = self.active_schema(&project).await?;
        let found = self.holder_by(&project, &active.schema, &by).await;
        if matches!(found, Ok(Some(_))) {
            return found;
        }
        // No append would notice a stale memory.
        let present = self.present_schema(&project).await?;
        if present.stream_version == active.stream_version {
            return found;
        }
        self.holder_by(&project, &present.schema, &by).await
    }

    async fn holder_by(
        &self,
        project: &Project,
        schema: &Schema,
        by: &FindBy,
    ) -> Result<Option<Uuid>, CommandError> {
        let claim = match by {
            FindBy::Id(id) => {
                Claim::customer_id(&schema.canonical_id(id).map_err(CommandError::invalid)?)
            }
            FindBy::Field(name, input) => {
                let is_id = name == schema.primary_key();
                if !is_id && !schema.unique_fields().any(|unique| unique == name) {
                    let message = "the field is not unique";
                    return Err(CommandError::invalid(Problem::new(
                        [name.as_str()],
                        "field_not_unique",
                        message,
                    )));
                }
                let value = schema.read_value(name, input).map_err(|problem| {
                    CommandError::invalid(Problem {
                        loc: vec![name.clone()],
                        ..problem
                    })
                })?;
                match value {
                    Some(value) if is_id => Claim::customer_id(value.as_text()),
                    Some(value) => Claim::unique_value(name, value.as_text()),
                    None => return Ok(None),
                }
            }
        };
        Ok(self.cell().holder(project, &claim).await?)
    }
}
