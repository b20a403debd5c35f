//! Bind an identity to a customer, and unbind it.

use roster_domain::access::{ConnectorIdentity, LinkedBy};
use roster_domain::customer::{Customer, CustomerCommand, CustomerEvent, UnlinkIdentity, Upsert};
use roster_domain::{Personal, Problem, Timestamp};

use super::change::{Changed, Whom};
use crate::authority::Operation;
use crate::schema::ActiveSchema;
use crate::{Applied, CommandError, Context, Directory, NotFound};

/// A link as a caller wants it.
#[derive(Clone)]
pub struct LinkInput {
    /// The channel.
    pub channel: String,
    /// The external user id, as it came in.
    pub external_user_id: String,
    /// Whose it is.
    pub customer_user_id: String,
}

/// A link that is there.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The identity, normalised.
    pub identity: ConnectorIdentity,
    /// The customer.
    pub customer_user_id: Personal<String>,
    /// Who bound it.
    pub linked_by: LinkedBy,
    /// When.
    pub linked_at: Timestamp,
    /// Whether it is new.
    pub created: bool,
}

/// What is to be unbound: an identity, or all of a customer's on a channel.
#[derive(Clone, Default)]
pub struct UnlinkInput {
    /// The channel.
    pub channel: String,
    /// The external user id, as it came in.
    pub external_user_id: Option<String>,
    /// The customer; with an identity, only a link of this customer is removed.
    pub customer_user_id: Option<String>,
    /// Whether the bound profile field is cleared too.
    pub clear_profile_field: bool,
}

/// What was unbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlinked {
    /// Whether there was a link.
    pub unlinked: bool,
    /// Whether it had a grant.
    pub revoked_grant: bool,
    /// Whether the profile was touched.
    pub cleared_profile_field: bool,
}

impl std::fmt::Debug for LinkInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "LinkInput({})", self.channel)
    }
}

impl std::fmt::Debug for UnlinkInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "UnlinkInput({})", self.channel)
    }
}

impl Directory {
    /// Binds an identity to a customer; nothing is appended where it is bound to that customer already.
    ///
    /// # Errors
    /// [`CommandError::NotFound`], [`CommandError::IdentityLinkedElsewhere`], [`CommandError::Invalid`].
    pub async fn link_identity(
        &self,
        ctx: &Context,
        input: LinkInput,
    ) -> Result<Applied<Linked>, CommandError> {
        ctx.authorise(Operation::LinkIdentity)?;
        let project = self.cell().project(&ctx.scope).await?;
        let project = project.ok_or(NotFound::Customer)?;
        let read = |active: &ActiveSchema| {
            let identity = active
                .schema
                .identity(&input.channel, &input.external_user_id);
            identity.map_err(CommandError::invalid)
        };
        let at = self.now();
        let make = |active: &ActiveSchema, _: &Customer| {
            Ok(vec![CustomerCommand::LinkIdentity {
                at,
                identity: read(active)?,
                linked_by: LinkedBy::Manual,
            }])
        };
        let whom = Whom::Id(&input.customer_user_id);
        let changed = self
            .change_customer(&project, &ctx.meta(), whom, make)
            .await?;
        let identity = read(&changed.value.active)?;
        self.sightings().forget(&project, &identity);
        let link = changed.value.after.access.link(&identity).cloned();
        let link = link.ok_or_else(|| CommandError::internal("a link is not there"))?;
        Ok(changed.map(|changed| Linked {
            identity,
            customer_user_id: changed.after.customer_user_id,
            linked_by: link.linked_by,
            linked_at: link.linked_at,
            created: !changed.events.is_empty(),
        }))
    }

    /// Unbinds identities, takes their grants and keeps rules from binding them to the customer again.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] for a customer who is named and not there, [`CommandError::ProfileFieldRequired`],
    /// [`CommandError::Invalid`].
    pub async fn unlink_identity(
        &self,
        ctx: &Context,
        input: UnlinkInput,
    ) -> Result<Applied<Unlinked>, CommandError> {
        ctx.authorise(Operation::UnlinkIdentity)?;
        let project = self.cell().project(&ctx.scope).await?;
        let named = input.customer_user_id.as_deref();
        let Some(project) = project else {
            return match named {
                Some(_) => Err(NotFound::Customer.into()),
                None => Ok(Applied::unchanged(Unlinked::default())),
            };
        };
        let whom = match (named, &input.external_user_id) {
            (Some(id), _) => Whom::Id(id),
            (None, Some(id)) => Whom::Linked(&input.channel, id),
            (None, None) => {
                let message = "external_user_id or customer_user_id is required";
                let loc = ["external_user_id"];
                return Err(CommandError::invalid(Problem::new(loc, "missing", message)));
            }
        };
        let at = self.now();
        let make = |active: &ActiveSchema, customer: &Customer| {
            let identities = identities(active, customer, &input)?;
            let unlink = |identity: ConnectorIdentity| {
                let clear = input
                    .clear_profile_field
                    .then(|| clearing(active, customer, &identity, at))
                    .flatten();
                CustomerCommand::UnlinkIdentity(UnlinkIdentity {
                    at,
                    identity,
                    clear,
                })
            };
            Ok(identities.into_iter().map(unlink).collect())
        };
        match self
            .change_customer(&project, &ctx.meta(), whom, make)
            .await
        {
            Err(CommandError::NotFound(NotFound::Customer)) if named.is_none() => {
                Ok(Applied::unchanged(Unlinked::default()))
            }
            changed => Ok(changed?.map(|changed| outcome(&changed))),
        }
    }
}

/// The linked identities that an input names.
fn identities(
    active: &ActiveSchema,
    customer: &Customer,
    input: &UnlinkInput,
) -> Result<Vec<ConnectorIdentity>, CommandError> {
    if let Some(id) = &input.external_user_id {
        let identity = active.schema.identity(&input.channel, id);
        let identity = identity.map_err(CommandError::invalid)?;
        let is_linked = customer.access.link(&identity).is_some();
        return Ok(is_linked.then_some(identity).into_iter().collect());
    }
    let channel = active.schema.channel(&input.channel);
    let channel = channel.map_err(CommandError::invalid)?;
    let links = customer.access.links_on(&channel);
    Ok(links.map(|link| link.identity.clone()).collect())
}

/// The upsert that clears the bound field, where its value is the identity.
fn clearing(
    active: &ActiveSchema,
    customer: &Customer,
    identity: &ConnectorIdentity,
    at: Timestamp,
) -> Option<Upsert> {
    let field = active.schema.bound_field(&identity.channel);
    let value = customer.profile.known()?.get(field.as_str())?;
    let bound = ConnectorIdentity::read(&identity.channel, value.as_text());
    (bound.as_ref() == Some(identity))
        .then(|| active.naming(customer, [(field.into(), None)].into(), at))
}

fn outcome(changed: &Changed) -> Unlinked {
    let has = |is: fn(&CustomerEvent) -> bool| changed.events.iter().any(is);
    Unlinked {
        unlinked: has(|event| matches!(event, CustomerEvent::IdentityUnlinked { .. })),
        revoked_grant: changed.after.access.grants.len() < changed.before.access.grants.len(),
        cleared_profile_field: has(|event| matches!(event, CustomerEvent::Updated { .. })),
    }
}
