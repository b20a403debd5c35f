//! Create or change: one customer, or many with a verdict each.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use roster_domain::Problem;
use roster_domain::customer::{self, Customer, CustomerCommand, Tagging, Upsert};
use roster_domain::meta::Meta;
use roster_domain::schema::{self, ProjectSchema, SchemaCommand};
use roster_domain::stream::{Claim, claim_kind};
use roster_domain::value::Input;
use roster_store::{ChunkVerdict, Loaded, Prepared, Project, Verdict};
use uuid::Uuid;

use super::{Found, UpsertInput, Upserted};
use crate::authority::Operation;
use crate::execute::DECISIONS;
use crate::schema::ActiveSchema;
use crate::{Applied, CommandError, Context, Directory, NotFound};

/// The most items of one bulk upsert.
pub(crate) const BULK_LIMIT: usize = 500;

impl Directory {
    /// Creates a customer or changes the record; nothing is appended where nothing changes.
    ///
    /// # Errors
    /// [`CommandError::Invalid`], [`CommandError::PrimaryKeyMismatch`], [`CommandError::UniqueValueTaken`],
    /// [`CommandError::IdentityLinkedElsewhere`], [`CommandError::VersionConflict`], [`CommandError::NotFound`] for the
    /// connection of a tag.
    pub async fn upsert_customer(
        &self,
        ctx: &Context,
        input: UpsertInput,
    ) -> Result<Applied<Upserted>, CommandError> {
        ctx.authorise(Operation::UpsertCustomer)?;
        let project = self.writable(ctx).await?;
        self.upsert(&project, &ctx.meta(), &input, None, None).await
    }

    /// Creates or changes at most 500 customers, with a verdict each. Items that name one customer apply in order.
    ///
    /// # Errors
    /// Only where no item was looked at; what is wrong with an item is its verdict.
    pub async fn upsert_customers(
        &self,
        ctx: &Context,
        inputs: Vec<UpsertInput>,
    ) -> Result<Applied<Vec<Result<Upserted, CommandError>>>, CommandError> {
        ctx.authorise(Operation::UpsertCustomers)?;
        if inputs.len() > BULK_LIMIT {
            let message = format!("at most {BULK_LIMIT} items");
            return Err(CommandError::invalid(Problem::new(
                ["items"],
                "too_many_items",
                message,
            )));
        }
        let project = self.writable(ctx).await?;
        let active = self.present_schema(&project).await?;
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, input) in inputs.iter().enumerate() {
            // An item without a usable id stands alone: its own upsert will say what is wrong.
            let id = canonical_id(&active, input).unwrap_or_else(|_| format!("\0{index}"));
            groups.entry(id).or_default().push(index);
        }
        let claims: Vec<Claim> = groups.keys().map(|id| Claim::customer_id(id)).collect();
        let holders = self
            .cell()
            .load_holders::<Customer>(&project, claim_kind::CUSTOMER_ID, &claims)
            .await?;
        let meta = ctx.meta();
        let (project, meta, inputs, active) = (&project, &meta, &inputs, &active);
        let groups = groups
            .into_values()
            .zip(holders)
            .map(|(indices, holder)| async move {
                let mut first = Some(Found {
                    loaded: holder,
                    is_fresh: true,
                });
                let mut verdicts = Vec::with_capacity(indices.len());
                for index in indices {
                    verdicts.push((
                        index,
                        self.upsert(
                            project,
                            meta,
                            &inputs[index],
                            Some(Arc::clone(active)),
                            first.take(),
                        )
                        .await,
                    ));
                }
                verdicts
            });
        let mut verdicts: Vec<(usize, Result<Applied<Upserted>, CommandError>)> =
            join_all(groups).await.into_iter().flatten().collect();
        verdicts.sort_unstable_by_key(|(index, _)| *index);
        let position = verdicts
            .iter()
            .filter_map(|(_, verdict)| verdict.as_ref().ok()?.position)
            .max();
        let value = verdicts
            .into_iter()
            .map(|(_, verdict)| verdict.map(|applied| applied.value))
            .collect();
        Ok(Applied {
            value,
            position,
            replayed: false,
        })
    }

    async fn upsert(
        &self,
        project: &Project,
        meta: &Meta,
        input: &UpsertInput,
        mut present: Option<Arc<ActiveSchema>>,
        mut found: Option<Found>,
    ) -> Result<Applied<Upserted>, CommandError> {
        let mut fresh = false;
        let mut current = 0;
        let mut left = DECISIONS;
        while left > 0 {
            let is_present = fresh || present.is_some();
            let active = match present.take() {
                Some(active) => active,
                None if fresh => self.present_schema(project).await?,
                None => self.active_schema(project).await?,
            };
            let command = match command_of(&active, input, self.now()) {
                Err(_) if !is_present => {
                    fresh = true;
                    continue;
                }
                command => command?,
            };
            let id = command.customer_user_id.clone();
            let Found { loaded, is_fresh } = match found.take() {
                Some(found) => found,
                None => self.customer_by_id(project, &id, fresh).await?,
            };
            let created = loaded.is_none();
            let before = loaded.unwrap_or_else(|| self.cell().new_stream(self.new_id()));
            let source = input.data_source.as_ref();
            if source.is_some_and(|source| !source.can_be_of(&before.state)) {
                if is_fresh {
                    return Err(CommandError::NotFound(NotFound::Connection));
                }
                fresh = true;
                continue;
            }
            let command = CustomerCommand::Upsert(command);
            let decided = customer::decide(&before.state, &command);
            // An append would notice a stale memory; a refusal or "nothing changed" must ask the log first.
            let is_sure = is_fresh && is_present;
            if !is_sure && !decided.as_ref().is_ok_and(|events| !events.is_empty()) {
                fresh = true;
                continue;
            }
            let events = decided?;
            current = before.state.version;
            if events.is_empty() {
                let value = Upserted {
                    schema: Arc::clone(&active.schema),
                    stream: before.stream,
                    customer: before.state,
                    created: false,
                    changed: false,
                };
                return Ok(Applied::unchanged(value));
            }
            let prepared = self
                .cell()
                .prepare_with_state(project, &before, events, meta);
            let (prepared, after) = prepared?;
            let prepared = prepared.guard(project.schema_stream, active.stream_version);
            let verdict = self.cell().append(prepared).await?;
            let done = match verdict {
                Verdict::Accepted { position, .. } => Some((after, position)),
                Verdict::ClaimTaken { claim, holder } => {
                    self.claim_taken(project, meta, &active, &before, command, (&claim, holder))
                        .await?
                }
                _ => None,
            };
            if let Some((customer, position)) = done {
                if created {
                    self.remember_id(project, &id, before.stream);
                }
                let value = Upserted {
                    schema: Arc::clone(&active.schema),
                    customer,
                    stream: before.stream,
                    created,
                    changed: true,
                };
                return Ok(Applied::at(value, position));
            }
            fresh = true;
            left -= 1;
        }
        Err(CommandError::VersionConflict { current })
    }

    /// What a taken claim means: another customer has the value, the id was registered meanwhile (`None`: decide again),
    /// or a field that is only being made unique has a duplicate, which ends its preparation and not the write.
    async fn claim_taken(
        &self,
        project: &Project,
        meta: &Meta,
        active: &ActiveSchema,
        before: &Loaded<Customer>,
        command: CustomerCommand,
        (claim, holder): (&Claim, Uuid),
    ) -> Result<Option<(Arc<Customer>, i64)>, CommandError> {
        if claim.channel().is_some() {
            return Err(self.linked_elsewhere(project, holder).await?);
        }
        let Some(field) = claim.field() else {
            return Ok(None);
        };
        let is_unique = active.schema.unique_fields().any(|unique| unique == field);
        let pending = active.pending.as_ref().filter(|_| !is_unique);
        let Some(pending) = pending else {
            let customer_user_id = self.id_of(project, holder).await?;
            return Err(CommandError::UniqueValueTaken {
                field: field.to_owned(),
                customer_user_id,
            });
        };
        let events = customer::decide(&before.state, &command.without_pending())?;
        let prepared = self
            .cell()
            .prepare_with_state(project, before, events, meta);
        let (prepared, after) = prepared?;
        let mut chunk = vec![prepared.guard(project.schema_stream, active.stream_version)];
        chunk.extend(
            self.void_preparation(project, meta, pending.preparation_id, field)
                .await?,
        );
        Ok(match self.cell().append_all(chunk).await? {
            ChunkVerdict::Accepted { last_position } => Some((after, last_position)),
            ChunkVerdict::Lost(_) => None,
        })
    }

    /// The command that ends a pending schema because of a duplicate; `None` where it ended already.
    pub(crate) async fn void_preparation(
        &self,
        project: &Project,
        meta: &Meta,
        preparation_id: Uuid,
        field: &str,
    ) -> Result<Option<Prepared>, CommandError> {
        let before = self
            .cell()
            .load::<ProjectSchema>(project, project.schema_stream)
            .await?;
        let void = SchemaCommand::VoidPreparation {
            at: self.now(),
            preparation_id,
            field: field.to_owned(),
        };
        let events = schema::decide(&before.state, &void)?;
        if events.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.cell().prepare(project, &before, events, meta)?))
    }
}

/// The id that an item names: given, or as the value of the primary key.
fn canonical_id(active: &ActiveSchema, input: &UpsertInput) -> Result<String, CommandError> {
    let primary_key = active.schema.primary_key();
    let given = input
        .customer_user_id
        .as_deref()
        .filter(|id| !id.trim().is_empty());
    let text = given.or_else(|| {
        let (_, value) = input.profile.iter().find(|(name, _)| name == primary_key)?;
        match value {
            Input::Text(text) | Input::Number(text) => Some(text.as_str()),
            Input::Bool(true) => Some("true"),
            Input::Bool(false) => Some("false"),
            Input::Null | Input::Nested => None,
        }
    });
    let Some(text) = text else {
        let message = "an id, or a value of the primary key, is required";
        return Err(CommandError::invalid(Problem::new(
            ["customer_user_id"],
            "value_required",
            message,
        )));
    };
    active
        .schema
        .canonical_id(text)
        .map_err(CommandError::invalid)
}

fn command_of(
    active: &ActiveSchema,
    input: &UpsertInput,
    at: roster_domain::Timestamp,
) -> Result<Upsert, CommandError> {
    let customer_user_id = canonical_id(active, input)?;
    let schema = &active.schema;
    let mut changes = schema
        .read_profile(input.profile.iter().cloned())
        .map_err(CommandError::Invalid)?;
    let mut connector_enabled = BTreeMap::new();
    for (channel, on) in &input.connector_enabled {
        let channel = schema.channel(channel).map_err(|problem| {
            CommandError::invalid(Problem {
                loc: vec!["connector_enabled".into()],
                ..problem
            })
        })?;
        connector_enabled.insert(channel, *on);
    }
    let tagging = match &input.data_source {
        Some(source) => source.tagging()?,
        None => Tagging::Keep,
    };
    let pending_unique = match &active.pending {
        Some(pending) => {
            pending.schema.respell(&mut changes);
            pending.unique.clone()
        }
        None => [].into(),
    };
    Ok(Upsert {
        schema: schema.clone(),
        pending_unique,
        at,
        customer_user_id,
        changes,
        replace: input.replace,
        enabled: input.enabled,
        connector_enabled,
        tagging,
        expected_version: input.expected_version,
        skip_existing: false,
    })
}
