//! Ids that imports and syncs must skip.

use roster_domain::Personal;
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_domain::suppression::{Suppression, SuppressionCommand, SuppressionRefusal, decide};
use roster_store::{Prepared, Project};

use crate::authority::Operation;
use crate::{Applied, CommandError, Context, Directory, NotFound};

impl From<SuppressionRefusal> for CommandError {
    fn from(refusal: SuppressionRefusal) -> Self {
        match refusal {
            SuppressionRefusal::SuppressionNotFound => Self::NotFound(NotFound::Suppression),
        }
    }
}

impl Directory {
    /// Lets imports and syncs write an id again.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where the id is not suppressed.
    pub async fn remove_suppression(
        &self,
        ctx: &Context,
        customer_user_id: &str,
    ) -> Result<Applied<()>, CommandError> {
        ctx.authorise(Operation::RemoveSuppression)?;
        let not_found = || CommandError::NotFound(NotFound::Suppression);
        let project = self
            .cell()
            .project(&ctx.scope)
            .await?
            .ok_or_else(not_found)?;
        let schema = self.present_schema(&project).await?;
        let id = schema
            .schema
            .canonical_id(customer_user_id)
            .map_err(CommandError::invalid)?;
        let stream = self
            .cell()
            .holder(&project, &Claim::suppressed(&id))
            .await?
            .ok_or_else(not_found)?;
        let remove = SuppressionCommand::Remove { at: self.now() };
        let decide = |state: &Suppression| Ok(decide(state, &remove)?);
        Ok(self
            .execute(&project, stream, &ctx.meta(), decide)
            .await?
            .map(|_| ()))
    }

    /// The command that suppresses an id; `None` where it is suppressed already.
    pub(crate) async fn suppress(
        &self,
        project: &Project,
        customer_user_id: &str,
        meta: &Meta,
    ) -> Result<Option<Prepared>, CommandError> {
        if self
            .cell()
            .holder(project, &Claim::suppressed(customer_user_id))
            .await?
            .is_some()
        {
            return Ok(None);
        }
        let add = SuppressionCommand::Add {
            at: self.now(),
            customer_user_id: Personal::new(customer_user_id.to_owned()),
        };
        let new = self.cell().new_stream::<Suppression>(self.new_id());
        let events = decide(&new.state, &add)?;
        Ok(Some(self.cell().prepare(project, &new, events, meta)?))
    }
}
