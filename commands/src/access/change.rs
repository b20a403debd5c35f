//! How a command on one customer is carried out together with what it means for the streams of identities.

use std::sync::Arc;

use roster_domain::access::ConnectorIdentity;
use roster_domain::customer::{Customer, CustomerCommand, CustomerEvent, decide};
use roster_domain::identity::{self, Identity, IdentityCommand};
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_store::{ChunkVerdict, Loaded, Prepared, Project, Verdict};
use uuid::Uuid;

use crate::execute::{DECISIONS, folded};
use crate::schema::ActiveSchema;
use crate::{Applied, CommandError, Directory, NotFound};

/// The customer whom a command is about.
#[derive(Clone, Copy)]
pub(super) enum Whom<'a> {
    /// By id, as a caller wrote it.
    Id(&'a str),
    /// By stream.
    Stream(Uuid),
    /// Who is linked with an identity, by channel and id as a caller wrote them.
    Linked(&'a str, &'a str),
}

/// A customer before and after commands.
pub(super) struct Changed {
    /// The schema that it was decided by.
    pub(super) active: Arc<ActiveSchema>,
    pub(super) stream: Uuid,
    pub(super) before: Arc<Customer>,
    pub(super) after: Customer,
    pub(super) events: Vec<CustomerEvent>,
}

/// What became of one attempt.
enum Written {
    At(i64),
    Again,
    Taken(Claim, Uuid),
}

impl Directory {
    /// Carries out the commands that `make` finds for a customer, all of them or none. A lost race is decided again.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where there is no such customer, [`CommandError::UniqueValueTaken`],
    /// [`CommandError::IdentityLinkedElsewhere`], and what the rules refuse.
    pub(super) async fn change_customer(
        &self,
        project: &Project,
        meta: &Meta,
        whom: Whom<'_>,
        make: impl Fn(&ActiveSchema, &Customer) -> Result<Vec<CustomerCommand>, CommandError> + Send,
    ) -> Result<Applied<Changed>, CommandError> {
        let mut current = 0;
        let mut duplicate: Option<(Uuid, String)> = None;
        for _ in 0..DECISIONS {
            let mut active = self.active_schema(project).await?;
            duplicate = duplicate.filter(|(by, _)| active.is_prepared_by(*by));
            let mut found = self
                .decide_change(project, &active, whom, duplicate.is_some(), &make)
                .await;
            // An append would notice a stale memory of the schema; a refusal or "nothing changed" must ask the log first.
            if found
                .as_ref()
                .map_or(true, |(.., events)| events.is_empty())
            {
                let present = self.present_schema(project).await?;
                if present.stream_version != active.stream_version {
                    active = present;
                    duplicate = duplicate.filter(|(by, _)| active.is_prepared_by(*by));
                    found = self
                        .decide_change(project, &active, whom, duplicate.is_some(), &make)
                        .await;
                }
            }
            let (before, after, events) = found?;
            current = before.state.version;
            let mut others = Vec::new();
            if let Some((preparation_id, field)) = &duplicate {
                others.extend(
                    self.void_preparation(project, meta, *preparation_id, field)
                        .await?,
                );
            }
            let mut changed = Changed {
                active: Arc::clone(&active),
                stream: before.stream,
                before: Arc::clone(&before.state),
                after,
                events,
            };
            if changed.events.is_empty() {
                return Ok(Applied::unchanged(changed));
            }
            others.extend(self.identity_changes(project, meta, &changed).await?);
            let events = std::mem::take(&mut changed.events);
            changed.events.clone_from(&events);
            let own = self.cell().prepare(project, &before, events, meta)?;
            let own = own.guard(project.schema_stream, active.stream_version);
            match self.write(own, others).await? {
                Written::At(position) => return Ok(Applied::at(changed, position)),
                Written::Again => {}
                Written::Taken(claim, holder) => {
                    duplicate = self.taken(project, &active, &claim, holder).await?;
                }
            }
        }
        Err(CommandError::VersionConflict { current })
    }

    /// The customer, and what the commands that `make` finds come to; without a pending schema where that was voided.
    async fn decide_change(
        &self,
        project: &Project,
        active: &ActiveSchema,
        whom: Whom<'_>,
        is_voided: bool,
        make: &(impl Fn(&ActiveSchema, &Customer) -> Result<Vec<CustomerCommand>, CommandError> + Send),
    ) -> Result<(Loaded<Customer>, Customer, Vec<CustomerEvent>), CommandError> {
        let before = self.load_whom(project, active, whom).await?;
        let mut commands = make(active, &before.state)?;
        if is_voided {
            let unpended = commands.into_iter().map(CustomerCommand::without_pending);
            commands = unpended.collect();
        }
        let (after, events) = decided(&before.state, &commands)?;
        Ok((before, after, events))
    }

    async fn load_whom(
        &self,
        project: &Project,
        active: &ActiveSchema,
        whom: Whom<'_>,
    ) -> Result<Loaded<Customer>, CommandError> {
        let loaded = match whom {
            Whom::Id(id) => {
                let id = active.schema.canonical_id(id);
                let claim = Claim::customer_id(&id.map_err(CommandError::invalid)?);
                self.cell().load_holder(project, &claim).await?
            }
            Whom::Linked(channel, id) => {
                let identity = active.schema.identity(channel, id);
                let claim = identity.map_err(CommandError::invalid)?.claim();
                self.cell().load_holder(project, &claim).await?
            }
            Whom::Stream(stream) => Some(self.cell().load_fresh(project, stream).await?),
        };
        loaded
            .filter(|loaded: &Loaded<Customer>| loaded.state.is_active())
            .ok_or(CommandError::NotFound(NotFound::Customer))
    }

    /// What the streams of identities do because of a customer's events: a pair is blocked, or its block ends.
    async fn identity_changes(
        &self,
        project: &Project,
        meta: &Meta,
        changed: &Changed,
    ) -> Result<Vec<Prepared>, CommandError> {
        let mut others = Vec::new();
        for event in &changed.events {
            match event {
                CustomerEvent::IdentityUnlinked {
                    at,
                    channel,
                    external_user_id,
                    blocks: true,
                } => {
                    let Some(id) = external_user_id.known() else {
                        continue;
                    };
                    let identity = ConnectorIdentity {
                        channel: channel.clone(),
                        external_user_id: id.clone(),
                    };
                    let known = self.known_identity(project, &identity).await?;
                    let before = known.unwrap_or_else(|| self.cell().new_stream(self.new_id()));
                    let block = IdentityCommand::Block {
                        at: *at,
                        identity,
                        customer_ref: changed.stream,
                    };
                    others.extend(self.prepare_identity(project, meta, &before, &block)?);
                }
                CustomerEvent::IdentityLinked {
                    channel,
                    external_user_id,
                    ..
                } => {
                    let blocked = changed.before.access.blocked.iter().find(|blocked| {
                        blocked.channel == *channel
                            && Some(&blocked.external_user_id) == external_user_id.known()
                    });
                    if let Some(identity) = blocked {
                        let stream = changed.stream;
                        others.extend(self.unblock(project, meta, identity, stream).await?);
                    }
                }
                _ => {}
            }
        }
        Ok(others)
    }

    /// Ends everything that keeps identities from a customer who is erased, so that nothing of them is left.
    pub(crate) async fn end_blocks(
        &self,
        project: &Project,
        meta: &Meta,
        customer: &Loaded<Customer>,
    ) -> Result<Vec<Prepared>, CommandError> {
        let mut ended = Vec::new();
        for identity in &customer.state.access.blocked {
            ended.extend(
                self.unblock(project, meta, identity, customer.stream)
                    .await?,
            );
        }
        Ok(ended)
    }

    async fn unblock(
        &self,
        project: &Project,
        meta: &Meta,
        identity: &ConnectorIdentity,
        customer_ref: Uuid,
    ) -> Result<Option<Prepared>, CommandError> {
        let Some(before) = self.known_identity(project, identity).await? else {
            return Ok(None);
        };
        let unblock = IdentityCommand::Unblock {
            at: self.now(),
            customer_ref,
        };
        self.prepare_identity(project, meta, &before, &unblock)
    }

    async fn known_identity(
        &self,
        project: &Project,
        identity: &ConnectorIdentity,
    ) -> Result<Option<Loaded<Identity>>, CommandError> {
        let claim = Claim::known_identity(&identity.channel, &identity.external_user_id);
        Ok(self.cell().load_holder(project, &claim).await?)
    }

    fn prepare_identity(
        &self,
        project: &Project,
        meta: &Meta,
        before: &Loaded<Identity>,
        command: &IdentityCommand,
    ) -> Result<Option<Prepared>, CommandError> {
        let events = identity::decide(&before.state, command)?;
        if events.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.cell().prepare(project, before, events, meta)?))
    }

    async fn write(&self, own: Prepared, others: Vec<Prepared>) -> Result<Written, CommandError> {
        let verdicts = if others.is_empty() {
            match self.cell().append(own).await? {
                Verdict::Accepted { position, .. } => return Ok(Written::At(position)),
                verdict => vec![verdict],
            }
        } else {
            let chunk = others.into_iter().chain([own]).collect();
            match self.cell().append_all(chunk).await? {
                ChunkVerdict::Accepted { last_position } => return Ok(Written::At(last_position)),
                ChunkVerdict::Lost(lost) => lost.into_iter().map(|(_, verdict)| verdict).collect(),
            }
        };
        let taken = verdicts.into_iter().find_map(|verdict| match verdict {
            Verdict::ClaimTaken { claim, holder } => Some(Written::Taken(claim, holder)),
            _ => None,
        });
        Ok(taken.unwrap_or(Written::Again))
    }

    /// What a taken claim means: an error, or a duplicate that ends a preparation, or nothing but another attempt.
    async fn taken(
        &self,
        project: &Project,
        active: &ActiveSchema,
        claim: &Claim,
        holder: Uuid,
    ) -> Result<Option<(Uuid, String)>, CommandError> {
        if claim.channel().is_some() {
            return Err(self.linked_elsewhere(project, holder).await?);
        }
        let Some(field) = claim.field() else {
            return Ok(None);
        };
        let is_unique = active.schema.unique_fields().any(|unique| unique == field);
        match active.pending.as_ref().filter(|_| !is_unique) {
            Some(pending) => Ok(Some((pending.preparation_id, field.to_owned()))),
            None => Err(CommandError::UniqueValueTaken {
                field: field.to_owned(),
                customer_user_id: self.id_of(project, holder).await?,
            }),
        }
    }

    /// The refusal of an identity that a customer has.
    pub(crate) async fn linked_elsewhere(
        &self,
        project: &Project,
        holder: Uuid,
    ) -> Result<CommandError, CommandError> {
        Ok(CommandError::IdentityLinkedElsewhere {
            customer_user_id: self.id_of(project, holder).await?,
        })
    }
}

/// The state after commands in order, and their events.
fn decided(
    customer: &Customer,
    commands: &[CustomerCommand],
) -> Result<(Customer, Vec<CustomerEvent>), CommandError> {
    let mut after = customer.clone();
    let mut events = Vec::new();
    for command in commands {
        let more = decide(&after, command)?;
        after = folded(&after, &more);
        events.extend(more);
    }
    Ok((after, events))
}
