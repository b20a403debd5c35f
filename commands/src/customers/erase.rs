//! Erase a person for ever.

use std::sync::Arc;

use roster_domain::customer::{Customer, CustomerCommand, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::{Claim, kind};
use roster_store::{ChunkVerdict, Loaded, Prepared, Project, Standing, Verdict};
use uuid::Uuid;

use crate::authority::Operation;
use crate::execute::DECISIONS;
use crate::traces::Traces;
use crate::{Applied, CommandError, Context, Directory, NotFound};

/// What went with a customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Links that were revoked.
    pub links: u64,
    /// Grants that were revoked.
    pub grants: u64,
}

impl Directory {
    /// Erases a customer: claims are released and the key is destroyed in the same append.
    ///
    /// With `suppress` imports and syncs skip the id from then on, which is written together with the erasure.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where there is no such customer, also the second time.
    pub async fn erase_customer(
        &self,
        ctx: &Context,
        customer_user_id: &str,
        suppress: bool,
    ) -> Result<Applied<Erased>, CommandError> {
        ctx.authorise(Operation::EraseCustomer)?;
        let not_found = || CommandError::NotFound(NotFound::Customer);
        let project = self
            .cell()
            .project(&ctx.scope)
            .await?
            .ok_or_else(not_found)?;
        let meta = ctx.meta();
        let id = {
            let active = self.active_schema(&project).await?;
            active
                .schema
                .canonical_id(customer_user_id)
                .map_err(CommandError::invalid)?
        };
        let claim = Claim::customer_id(&id);
        let mut current = 0;
        for _ in 0..DECISIONS {
            let before = self
                .cell()
                .load_holder::<Customer>(&project, &claim)
                .await?
                .ok_or_else(not_found)?;
            current = before.state.version;
            let access = &before.state.access;
            let erased = Erased {
                links: access.links.len() as u64,
                grants: access.grants.len() as u64,
            };
            let erasure = self.erasure(&project, &before, suppress, &meta).await?;
            if let Some(position) = self.erase(&project, &before.state, erasure).await? {
                self.forget_id(&project, &id);
                return Ok(Applied::at(erased, position));
            }
        }
        Err(CommandError::VersionConflict { current })
    }

    /// Takes away what is kept about a person elsewhere, and writes the erasure; `None` where a race was lost.
    async fn erase(
        &self,
        project: &Project,
        customer: &Arc<Customer>,
        erasure: Vec<Prepared>,
    ) -> Result<Option<i64>, CommandError> {
        let mut traces = Traces::default();
        traces.add(Arc::clone(customer));
        self.forget_traces(project, &traces).await?;
        let position = self.append_erasure(erasure).await?;
        if position.is_some()
            && let Err(error) = self.forget_traces(project, &traces).await
        {
            tracing::warn!(%error, "what came in during an erasure is looked for no more");
        }
        Ok(position)
    }

    /// Writes an erasure with what belongs to it; `None` where a race was lost.
    async fn append_erasure(
        &self,
        mut erasure: Vec<Prepared>,
    ) -> Result<Option<i64>, CommandError> {
        if erasure.len() == 1
            && let Some(alone) = erasure.pop()
        {
            return Ok(match self.cell().append(alone).await? {
                Verdict::Accepted { position, .. } => Some(position),
                _ => None,
            });
        }
        Ok(match self.cell().append_all(erasure).await? {
            ChunkVerdict::Accepted { last_position } => Some(last_position),
            ChunkVerdict::Lost(_) => None,
        })
    }

    /// Erases a person whom the erasure ledger lists, by the stream alone, and with `suppress` as it was done first; where
    /// the erasure stands, `None` where the person is gone already.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where the stream is no customer's.
    pub async fn erase_again(
        &self,
        project: &Project,
        stream: Uuid,
        suppress: bool,
        meta: &Meta,
    ) -> Result<Option<i64>, CommandError> {
        let mut current = 0;
        for _ in 0..DECISIONS {
            match self.cell().standings(&[stream]).await?.as_slice() {
                [Standing::Open(kind::CUSTOMER)] => {}
                [Standing::Closed] => return Ok(None),
                _ => return Err(CommandError::NotFound(NotFound::Customer)),
            }
            let before = self.cell().load_fresh::<Customer>(project, stream).await?;
            current = before.state.version;
            let erasure = self.erasure(project, &before, suppress, meta).await?;
            if let Some(position) = self.erase(project, &before.state, erasure).await? {
                return Ok(Some(position));
            }
        }
        Err(CommandError::VersionConflict { current })
    }

    /// The commands that erase a customer, whoever asks for it: a request about one person, or a purge. What keeps
    /// identities from the customer ends first; a suppression comes last of that, so that the erasure stands right behind it,
    /// which is how the erasure ledger knows.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where the customer is not there any more.
    pub(crate) async fn erasure(
        &self,
        project: &Project,
        before: &Loaded<Customer>,
        suppress: bool,
        meta: &Meta,
    ) -> Result<Vec<Prepared>, CommandError> {
        let events = decide(&before.state, &CustomerCommand::Erase { at: self.now() })?;
        let mut commands = self.end_blocks(project, meta, before).await?;
        if let (Some(id), true) = (before.state.customer_user_id.known(), suppress) {
            commands.extend(self.suppress(project, id, meta).await?);
        }
        commands.push(self.cell().prepare(project, before, events, meta)?);
        Ok(commands)
    }
}
