//! Grant agents on a channel, to a customer or to everybody, and take grants away; switch a channel of a customer.

use std::collections::BTreeMap;
use std::sync::Arc;

use roster_domain::access::{
    ChannelRow, ConnectorIdentity, GrantRow, GrantSource, GrantStatus, Person, Terms, WILDCARD,
    channel_row,
};
use roster_domain::channel_access::{self, ChannelAccess, ChannelAccessCommand};
use roster_domain::customer::{AttachGrant, Customer, CustomerCommand};
use roster_domain::stream::Claim;
use roster_domain::value::Input;
use roster_domain::{Problem, Timestamp};
use roster_store::{Loaded, Project};

use super::change::Whom;
use crate::authority::Operation;
use crate::schema::ActiveSchema;
use crate::{Applied, CommandError, Context, Directory, NotFound, Upserted};

/// Who may use agents.
#[derive(Clone)]
pub enum Grantee {
    /// A customer, by this identity, or by the one in the bound profile field.
    Customer {
        /// The id of the customer.
        customer_user_id: String,
        /// The external user id, as it came in.
        external_user_id: Option<String>,
    },
    /// Everybody on the channel who is some customer.
    Everybody,
}

impl std::fmt::Debug for Grantee {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Customer { .. } => "Customer(<personal>)",
            Self::Everybody => "Everybody",
        })
    }
}

impl Grantee {
    /// The grantee of two members of a request.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] unless there is a customer, or the wildcard and none.
    pub fn of(
        customer_user_id: Option<String>,
        external_user_id: Option<String>,
    ) -> Result<Self, CommandError> {
        let refuse = |member: &str, kind, message: &str| {
            Err(CommandError::invalid(Problem::new([member], kind, message)))
        };
        let is_wildcard = external_user_id
            .as_deref()
            .is_some_and(|id| id.trim() == WILDCARD);
        match (customer_user_id, is_wildcard) {
            (None, true) => Ok(Self::Everybody),
            (Some(customer_user_id), false) => Ok(Self::Customer {
                customer_user_id,
                external_user_id,
            }),
            (Some(_), true) => {
                let message = "the wildcard is nobody's identity";
                refuse("external_user_id", "identity_invalid", message)
            }
            (None, false) => {
                let message = "a customer is required, unless everybody is meant";
                refuse("customer_user_id", "missing", message)
            }
        }
    }
}

/// A grant as a caller wants it.
#[derive(Clone, Debug)]
pub struct AttachInput {
    /// Who.
    pub grantee: Grantee,
    /// The channel.
    pub channel: String,
    /// The agents; `*` is every one.
    pub agents: Vec<String>,
    /// Whether the grant is on.
    pub enabled: bool,
    /// Its end.
    pub expires_at: Option<Timestamp>,
}

impl Directory {
    /// Binds an identity to a customer and grants it agents; or grants everybody agents. Answers the channel's row.
    ///
    /// # Errors
    /// [`CommandError::NotFound`], [`CommandError::IdentityLinkedElsewhere`], [`CommandError::UniqueValueTaken`],
    /// [`CommandError::PrimaryKeyMismatch`] where the primary key is the bound field, [`CommandError::Invalid`].
    pub async fn attach_channel_grant(
        &self,
        ctx: &Context,
        input: AttachInput,
    ) -> Result<Applied<ChannelRow>, CommandError> {
        ctx.authorise(Operation::AttachChannelGrant)?;
        let terms = Terms::read(&input.agents, input.enabled, input.expires_at);
        let terms = terms.map_err(CommandError::invalid)?;
        let (customer_user_id, external_user_id) = match &input.grantee {
            Grantee::Everybody => {
                return self.grant_everybody(ctx, &input.channel, terms).await;
            }
            Grantee::Customer {
                customer_user_id,
                external_user_id,
            } => (customer_user_id, external_user_id.as_deref()),
        };
        let project = self.cell().project(&ctx.scope).await?;
        let project = project.ok_or(NotFound::Customer)?;
        let at = self.now();
        let make = |active: &ActiveSchema, customer: &Customer| {
            let channel = &input.channel;
            let attach = attaching(active, customer, channel, external_user_id, &terms, at)?;
            Ok(vec![CustomerCommand::AttachGrant(attach)])
        };
        let whom = Whom::Id(customer_user_id);
        let changed = self
            .change_customer(&project, &ctx.meta(), whom, make)
            .await?;
        let schema = Arc::clone(&changed.value.active.schema);
        let channel = schema.channel(&input.channel);
        let channel = channel.map_err(CommandError::invalid)?;
        let wildcard = self.wildcard(&project, &channel).await?;
        let wildcard = wildcard.and_then(|loaded| loaded.into_state().terms);
        Ok(changed.map(|changed| {
            let customer = &changed.after;
            let nothing = BTreeMap::new();
            let person = Person {
                enabled: customer.enabled,
                connector_enabled: &customer.connector_enabled,
                profile: customer.profile.known().unwrap_or(&nothing),
                access: &customer.access,
            };
            channel_row(&schema, &person, wildcard.as_ref(), &channel, at)
        }))
    }

    /// Takes a customer's grants on a channel, or the channel's wildcard.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where there is no such customer or no grant.
    pub async fn revoke_channel_grant(
        &self,
        ctx: &Context,
        grantee: &Grantee,
        channel: &str,
    ) -> Result<Applied<()>, CommandError> {
        ctx.authorise(Operation::RevokeChannelGrant)?;
        let project = self.cell().project(&ctx.scope).await?;
        let at = self.now();
        let Grantee::Customer {
            customer_user_id, ..
        } = grantee
        else {
            let project = project.ok_or(NotFound::Grant)?;
            let active = self.active_schema(&project).await?;
            let channel = active.schema.channel(channel);
            let channel = channel.map_err(CommandError::invalid)?;
            let found = self.wildcard(&project, &channel).await?;
            let stream = found.ok_or(NotFound::Grant)?.stream;
            let revoke = ChannelAccessCommand::Revoke { at };
            let decide = |state: &ChannelAccess| Ok(channel_access::decide(state, &revoke)?);
            let revoked = self.execute(&project, stream, &ctx.meta(), decide).await?;
            return Ok(revoked.map(|_| ()));
        };
        let project = project.ok_or(NotFound::Customer)?;
        let make = |active: &ActiveSchema, _: &Customer| {
            let channel = active.schema.channel(channel);
            let channel = channel.map_err(CommandError::invalid)?;
            Ok(vec![CustomerCommand::RevokeGrants { at, channel }])
        };
        let whom = Whom::Id(customer_user_id);
        let changed = self
            .change_customer(&project, &ctx.meta(), whom, make)
            .await?;
        Ok(changed.map(|_| ()))
    }

    /// Switches one channel of a customer.
    ///
    /// # Errors
    /// [`CommandError::NotFound`], [`CommandError::Invalid`] for a channel that nobody knows.
    pub async fn set_connector_enabled(
        &self,
        ctx: &Context,
        customer_user_id: &str,
        channel: &str,
        enabled: bool,
    ) -> Result<Applied<Upserted>, CommandError> {
        ctx.authorise(Operation::SetConnectorEnabled)?;
        let project = self.cell().project(&ctx.scope).await?;
        let project = project.ok_or(NotFound::Customer)?;
        let at = self.now();
        let make = |active: &ActiveSchema, _: &Customer| {
            let channel = active.schema.channel(channel);
            Ok(vec![CustomerCommand::SetConnectorEnabled {
                at,
                channel: channel.map_err(CommandError::invalid)?,
                enabled,
            }])
        };
        let whom = Whom::Id(customer_user_id);
        let changed = self
            .change_customer(&project, &ctx.meta(), whom, make)
            .await?;
        Ok(changed.map(|changed| Upserted {
            schema: Arc::clone(&changed.active.schema),
            changed: !changed.events.is_empty(),
            customer: Arc::new(changed.after),
            stream: changed.stream,
            created: false,
        }))
    }

    async fn grant_everybody(
        &self,
        ctx: &Context,
        channel: &str,
        terms: Terms,
    ) -> Result<Applied<ChannelRow>, CommandError> {
        let project = self.writable(ctx).await?;
        let active = self.active_schema(&project).await?;
        let channel = active.schema.channel(channel);
        let channel = channel.map_err(CommandError::invalid)?;
        let at = self.now();
        let grant = ChannelAccessCommand::Grant {
            at,
            channel: channel.clone(),
            terms: terms.clone(),
        };
        let decide = |state: &ChannelAccess| Ok(channel_access::decide(state, &grant)?);
        let found = self.wildcard(&project, &channel).await?;
        // Two first grants at once: the loser's stream finds the claim taken, and comes to nothing.
        let stream = found.map_or_else(|| self.new_id(), |loaded| loaded.stream);
        let meta = ctx.meta();
        let granted = match self.execute(&project, stream, &meta, decide).await {
            Err(CommandError::VersionConflict { .. }) => {
                let found = self.wildcard(&project, &channel).await?;
                let stream = found.map_or(stream, |loaded| loaded.stream);
                self.execute(&project, stream, &meta, decide).await?
            }
            granted => granted?,
        };
        Ok(granted.map(|_| ChannelRow {
            profile_field: active.schema.bound_field(&channel),
            channel,
            connector_enabled: true,
            connector_value: None,
            link: None,
            effective_enabled: terms.status(at) == GrantStatus::Active,
            grant: GrantRow::of(&terms, GrantSource::Wildcard, at),
        }))
    }

    async fn wildcard(
        &self,
        project: &Project,
        channel: &str,
    ) -> Result<Option<Loaded<ChannelAccess>>, CommandError> {
        let claim = Claim::channel_access(channel);
        Ok(self.cell().load_holder(project, &claim).await?)
    }
}

/// The command that attaches: the identity given or bound, and the upsert that writes it into the bound field.
fn attaching(
    active: &ActiveSchema,
    customer: &Customer,
    channel: &str,
    external_user_id: Option<&str>,
    terms: &Terms,
    at: Timestamp,
) -> Result<AttachGrant, CommandError> {
    let schema = &active.schema;
    let channel = schema.channel(channel).map_err(CommandError::invalid)?;
    let field = schema.bound_field(&channel);
    let invalid = |kind, message: String| {
        CommandError::invalid(Problem::new(["external_user_id"], kind, message))
    };
    let bound = customer
        .profile
        .known()
        .and_then(|profile| profile.get(field.as_str()));
    let identity = match (external_user_id, bound) {
        (Some(id), _) => schema
            .identity(&channel, id)
            .map_err(CommandError::invalid)?,
        (None, Some(value)) => {
            ConnectorIdentity::read(&channel, value.as_text()).ok_or_else(|| {
                let message = format!("the value of {field} is no identity on the channel");
                invalid("identity_invalid", message)
            })?
        }
        (None, None) => {
            let message = format!("an identity is required, because {field} has no value");
            return Err(invalid("missing", message));
        }
    };
    // A value that means the identity already stays as it is spelled.
    let is_there = bound.is_some_and(|value| {
        ConnectorIdentity::read(&channel, value.as_text()).as_ref() == Some(&identity)
    });
    let mut changes = BTreeMap::new();
    if !is_there {
        let input = Input::Text(identity.external_user_id.as_str().into());
        let value = schema.read_value(&field, &input);
        let value = value.map_err(CommandError::invalid)?;
        let means = value
            .as_ref()
            .and_then(|value| ConnectorIdentity::read(&channel, value.as_text()));
        if means.as_ref() != Some(&identity) {
            let message = format!("the field {field} cannot hold the identity");
            return Err(invalid("identity_invalid", message));
        }
        changes.insert(field.into(), value);
    }
    Ok(AttachGrant {
        upsert: active.naming(customer, changes, at),
        identity,
        terms: terms.clone(),
    })
}
