//! The schema of a project: which one commands decide by, and how another one takes effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use roster_domain::Timestamp;
use roster_domain::customer::{Customer, Tagging, Upsert};
use roster_domain::preparation::{self, Preparation, PreparationCommand};
use roster_domain::schema::{
    Definition, Pending, PendingStatus, ProjectSchema, Schema, SchemaCommand, SchemaEvent,
    SchemaRefusal, decide,
};
use roster_domain::stream::claim_kind;
use roster_domain::value::{SmolStr, Value};
use roster_store::{ChunkVerdict, Loaded, Project, TRUSTED, Verdict};
use uuid::Uuid;

use crate::authority::Operation;
use crate::execute::DECISIONS;
use crate::{Applied, CommandError, Context, Directory};

/// A schema as its author wants it.
#[derive(Clone, Debug)]
pub struct SchemaInput {
    /// The whole definition.
    pub definition: Definition,
    /// The version that the author saw.
    pub expected_version: Option<i32>,
}

/// What commands on customers decide by.
#[derive(Clone, Debug)]
pub struct ActiveSchema {
    /// The schema in effect.
    pub schema: Arc<Schema>,
    /// When it took effect; `None` for the default one.
    pub updated_at: Option<Timestamp>,
    /// The version of the stream: what a decision relies on.
    pub stream_version: i32,
    /// The schema that is being prepared.
    pub(crate) pending: Option<PendingSchema>,
}

/// A schema that writes must already respect.
#[derive(Clone, Debug)]
pub(crate) struct PendingSchema {
    pub(crate) preparation_id: Uuid,
    pub(crate) schema: Arc<Schema>,
    /// The fields whose claims writes take too.
    pub(crate) unique: Arc<[String]>,
}

/// What was active when it was looked at.
pub(crate) type KnownSchema = (Arc<ActiveSchema>, Instant);

impl ActiveSchema {
    /// Whether a coming schema is being prepared by this preparation: a duplicate that another one met says nothing about it.
    pub(crate) fn is_prepared_by(&self, preparation_id: Uuid) -> bool {
        let pending = self.pending.as_ref();
        pending.is_some_and(|pending| pending.preparation_id == preparation_id)
    }

    /// The upsert that changes these values of a customer and nothing else.
    pub(crate) fn naming(
        &self,
        customer: &Customer,
        mut changes: BTreeMap<SmolStr, Option<Value>>,
        at: Timestamp,
    ) -> Upsert {
        let pending_unique = match &self.pending {
            Some(pending) => {
                pending.schema.respell(&mut changes);
                pending.unique.clone()
            }
            None => [].into(),
        };
        let id = customer.customer_user_id.known();
        Upsert {
            schema: self.schema.clone(),
            pending_unique,
            at,
            customer_user_id: id.cloned().unwrap_or_default(),
            changes,
            replace: false,
            enabled: None,
            connector_enabled: BTreeMap::new(),
            tagging: Tagging::Keep,
            expected_version: None,
            skip_existing: false,
        }
    }

    fn of(state: &ProjectSchema, stream_version: i32) -> Result<Self, CommandError> {
        let pending = state
            .pending
            .as_ref()
            .filter(|pending| pending.status != PendingStatus::Voided);
        Ok(Self {
            schema: compile(&state.definition, state.version)?,
            updated_at: state.updated_at,
            stream_version,
            pending: pending
                .map(|pending| PendingSchema::of(state, pending))
                .transpose()?,
        })
    }
}

impl PendingSchema {
    fn of(state: &ProjectSchema, pending: &Pending) -> Result<Self, CommandError> {
        Ok(Self {
            preparation_id: pending.preparation_id,
            schema: compile(&pending.definition, state.version + 1)?,
            unique: state.pending_unique().into(),
        })
    }
}

fn compile(definition: &Definition, version: i32) -> Result<Arc<Schema>, CommandError> {
    let compiled = Schema::compile(definition.clone(), version);
    compiled
        .map(Arc::new)
        .map_err(|_| CommandError::internal("a stored schema does not compile"))
}

impl From<SchemaRefusal> for CommandError {
    fn from(refusal: SchemaRefusal) -> Self {
        match refusal {
            SchemaRefusal::Invalid(problems) => Self::SchemaInvalid(problems),
            SchemaRefusal::VersionConflict { current } => Self::SchemaConflict { current },
            SchemaRefusal::PrimaryKeyFixed => Self::PrimaryKeyFixed,
            SchemaRefusal::PreparationRunning { preparation_id } => {
                Self::PreparationRequired { preparation_id }
            }
        }
    }
}

impl Directory {
    /// The schema that commands on a project decide by, from the log's own stream: of a second ago at most. A command that
    /// is appended says which one it was decided by; what is refused or done without an append may need the present one.
    pub async fn active_schema(
        &self,
        project: &Project,
    ) -> Result<Arc<ActiveSchema>, CommandError> {
        let stream = project.schema_stream;
        let known = self.schemas().get(&project.no).cloned();
        // The default schema has no stream that could be remembered.
        if let Some((known, at)) = known
            && known.stream_version == 0
            && at.elapsed() <= TRUSTED
            && self.cell().load_cached::<ProjectSchema>(stream).is_none()
        {
            return Ok(known);
        }
        let loaded = self.cell().load::<ProjectSchema>(project, stream).await?;
        self.compiled(project, &loaded)
    }

    /// The schema as the log has it now.
    pub(crate) async fn present_schema(
        &self,
        project: &Project,
    ) -> Result<Arc<ActiveSchema>, CommandError> {
        let loaded = self
            .cell()
            .load_fresh::<ProjectSchema>(project, project.schema_stream)
            .await?;
        self.compiled(project, &loaded)
    }

    fn compiled(
        &self,
        project: &Project,
        loaded: &Loaded<ProjectSchema>,
    ) -> Result<Arc<ActiveSchema>, CommandError> {
        let known = self.schemas().get(&project.no).cloned();
        let known = known.filter(|(known, _)| known.stream_version == loaded.version);
        let active = match known {
            Some((known, _)) => known,
            None => Arc::new(ActiveSchema::of(&loaded.state, loaded.version)?),
        };
        let kept = (Arc::clone(&active), Instant::now());
        self.schemas().put(project.no, kept);
        Ok(active)
    }

    /// Replaces the schema. The same schema again appends nothing.
    ///
    /// A change that needs every customer's values read or claimed anew is prepared first: within this call up to the
    /// limit of customers, as a job above it.
    ///
    /// # Errors
    /// [`CommandError::SchemaConflict`], [`CommandError::SchemaInvalid`] (which also names duplicates of a field made
    /// unique), [`CommandError::PrimaryKeyFixed`], [`CommandError::PreparationRequired`].
    pub async fn upsert_schema(
        &self,
        ctx: &Context,
        input: SchemaInput,
    ) -> Result<Applied<ProjectSchema>, CommandError> {
        ctx.authorise(Operation::UpsertSchema)?;
        let problems = input.definition.clone().normalised().check();
        if !problems.is_empty() {
            return Err(CommandError::SchemaInvalid(problems));
        }
        let project = self.writable(ctx).await?;
        let limit = i64::try_from(self.limits().schema_in_request).unwrap_or(i64::MAX);
        let customers = self
            .cell()
            .count_claims(&project, claim_kind::CUSTOMER_ID, limit.saturating_add(1))
            .await?;
        for _ in 0..DECISIONS {
            let problems = self
                .remaining_duplicates(&project, &input.definition)
                .await?;
            if !problems.is_empty() {
                return Err(CommandError::SchemaInvalid(problems));
            }
            let preparation_id = match self
                .replace_schema(ctx, &project, &input, customers > 0)
                .await
            {
                Ok(Step::InEffect(applied)) => {
                    if customers == 0 && applied.position.is_some() {
                        self.claim_late_comers(&project).await?;
                    }
                    return Ok(*applied);
                }
                Ok(Step::Preparing(preparation_id))
                | Err(CommandError::PreparationRequired { preparation_id }) => preparation_id,
                Ok(Step::Lost) => continue,
                Err(error) => return Err(error),
            };
            if customers > limit {
                self.job_started().notify_one();
                return Err(CommandError::PreparationRequired { preparation_id });
            }
            if !self.prepare_in_request(&project, preparation_id).await? {
                return Err(CommandError::PreparationRequired { preparation_id });
            }
        }
        Err(CommandError::SchemaConflict {
            current: self.active_schema(&project).await?.schema.version(),
        })
    }

    /// Decides a replacement and appends it, together with what it means for the preparation before and the new one.
    async fn replace_schema(
        &self,
        ctx: &Context,
        project: &Project,
        input: &SchemaInput,
        has_customers: bool,
    ) -> Result<Step, CommandError> {
        // "Nothing changes" and a refusal append nothing that would notice a stale memory.
        let before = self
            .cell()
            .load_fresh::<ProjectSchema>(project, project.schema_stream)
            .await?;
        let (at, preparation_id) = (self.now(), self.new_id());
        let command = SchemaCommand::Replace {
            at,
            definition: input.definition.clone(),
            expected_version: input.expected_version,
            has_customers,
            preparation_id,
            force_ready: false,
        };
        let events = decide(&before.state, &command)?;
        let Some(event) = events.first() else {
            return Ok(Step::InEffect(Box::new(Applied::unchanged(
                before.into_state(),
            ))));
        };
        let meta = ctx.meta();
        let mut chunk = Vec::new();
        if let Some(old) = before
            .state
            .pending
            .as_ref()
            .filter(|old| old.status == PendingStatus::Running)
        {
            chunk.extend(
                self.abandon_preparation(project, old.preparation_id, &meta)
                    .await?,
            );
        }
        let is_started = matches!(event, SchemaEvent::PreparationStarted { .. });
        if let SchemaEvent::PreparationStarted {
            definition, fields, ..
        } = event
        {
            let total = self
                .cell()
                .count_claims(project, claim_kind::CUSTOMER_ID, i64::MAX)
                .await?;
            let start = PreparationCommand::Start {
                at,
                schema_stream: project.schema_stream,
                definition: definition.clone(),
                fields: fields.clone(),
                total: u64::try_from(total).unwrap_or_default(),
            };
            let new = self.cell().new_stream::<Preparation>(preparation_id);
            let events = preparation::decide(&new.state, &start)?;
            chunk.push(self.cell().prepare(project, &new, events, &meta)?);
        }
        let prepared = self
            .cell()
            .prepare_with_state(project, &before, events, &meta);
        let (prepared, state) = prepared?;
        let position = if chunk.is_empty() {
            match self.cell().append(prepared).await? {
                Verdict::Accepted { position, .. } => position,
                _ => return Ok(Step::Lost),
            }
        } else {
            chunk.push(prepared);
            match self.cell().append_all(chunk).await? {
                ChunkVerdict::Accepted { last_position } => last_position,
                ChunkVerdict::Lost(_) => return Ok(Step::Lost),
            }
        };
        self.schemas().pop(&project.no);
        Ok(if is_started {
            Step::Preparing(preparation_id)
        } else {
            Step::InEffect(Box::new(Applied::at(Arc::unwrap_or_clone(state), position)))
        })
    }
}

/// What one attempt to replace a schema did.
enum Step {
    InEffect(Box<Applied<ProjectSchema>>),
    Preparing(Uuid),
    Lost,
}
