//! The job that brings every customer in line with a schema before it takes effect.
//!
//! It walks the customers by the keys of their id claims. From the moment it was started every write takes the pending
//! claims too, so a customer is either met by the walk or claimed by its own write.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use roster_domain::customer::{self, ApplySchema, Customer, CustomerCommand};
use roster_domain::meta::Meta;
use roster_domain::preparation::{
    Outcome, Preparation, PreparationCommand, PreparationRefusal, decide,
};
use roster_domain::schema::{self, PendingStatus, ProjectSchema, Schema, SchemaCommand};
use roster_domain::stream::{claim_kind, kind};
use roster_store::{ChunkVerdict, Loaded, Prepared, Project, Verdict, leases};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::execute::{DECISIONS, folded};
use crate::jobs::{LEASE_SECONDS, Ran};
use crate::{CommandError, Directory};

/// Customers of one step.
const PAGE: i64 = 1_000;
/// Duplicates after which going on tells nothing new.
const ENOUGH_DUPLICATES: usize = 100;
/// How long a request waits for a preparation that another worker runs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A customer who could not take a claim.
#[derive(Clone)]
struct Collision {
    field: String,
    customer: Uuid,
    holder: Uuid,
}

impl From<PreparationRefusal> for CommandError {
    fn from(refusal: PreparationRefusal) -> Self {
        match refusal {
            PreparationRefusal::PreparationNotFound => Self::NotFound(crate::NotFound::Preparation),
            PreparationRefusal::AlreadyStarted
            | PreparationRefusal::AlreadyFinished
            | PreparationRefusal::ProgressWentBack => Self::internal("a preparation was run twice"),
        }
    }
}

fn meta_of(id: Uuid) -> Meta {
    Meta {
        request_id: format!("preparation-{id}"),
        ..Meta::default()
    }
}

impl Directory {
    /// Runs a preparation as part of a request; `false` where another worker did not end it in time.
    pub(crate) async fn prepare_in_request(
        &self,
        project: &Project,
        id: Uuid,
    ) -> Result<bool, CommandError> {
        let stop = CancellationToken::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.run_preparation(project, id, &stop).await? {
                Ran::Ended => return Ok(true),
                Ran::Elsewhere if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ran::Elsewhere | Ran::Stopped => return Ok(false),
            }
        }
    }

    /// Runs a preparation to its end, from where it stands.
    pub(crate) async fn run_preparation(
        &self,
        project: &Project,
        id: Uuid,
        stop: &CancellationToken,
    ) -> Result<Ran, CommandError> {
        let pool = self.cell().pool();
        if !self
            .cell()
            .load::<Preparation>(project, id)
            .await?
            .state
            .is_running()
        {
            return Ok(Ran::Ended);
        }
        let owner = self.new_id().to_string();
        let lease = leases::acquire(
            pool,
            id,
            project.no,
            kind::PREPARATION,
            &owner,
            LEASE_SECONDS,
        )
        .await?;
        let Some(epoch) = lease else {
            return Ok(Ran::Elsewhere);
        };
        let ran = self.walk(project, id, epoch, stop).await;
        leases::release(pool, id, epoch).await?;
        if matches!(ran, Ok(Ran::Ended)) {
            self.job_ended().send_replace(Some(id));
        }
        ran
    }

    async fn walk(
        &self,
        project: &Project,
        id: Uuid,
        epoch: i64,
        stop: &CancellationToken,
    ) -> Result<Ran, CommandError> {
        let mut size = PAGE;
        loop {
            if stop.is_cancelled() {
                return Ok(Ran::Stopped);
            }
            if !leases::renew(self.cell().pool(), id, epoch, LEASE_SECONDS).await? {
                return Ok(Ran::Elsewhere);
            }
            let job = self.cell().load::<Preparation>(project, id).await?;
            if !job.state.is_running() {
                return Ok(Ran::Ended);
            }
            // The schema was told of the job when that began, maybe by another server.
            let active = self
                .cell()
                .load_fresh::<ProjectSchema>(project, project.schema_stream)
                .await?;
            let is_wanted = active.state.pending.as_ref().is_some_and(|pending| {
                pending.preparation_id == id && pending.status == PendingStatus::Running
            });
            let compiled = Schema::compile(job.state.definition.clone(), active.state.version + 1);
            let (true, Ok(schema)) = (is_wanted, compiled) else {
                self.end_preparation(project, &job, &active, Outcome::Failed)
                    .await?;
                continue;
            };
            if job.state.duplicates.len() >= ENOUGH_DUPLICATES {
                self.end_preparation(project, &job, &active, Outcome::Duplicates)
                    .await?;
                continue;
            }
            let page = self
                .cell()
                .claims_page(project, claim_kind::CUSTOMER_ID, &job.state.cursor, size)
                .await?;
            let Some((cursor, _)) = page.last().cloned() else {
                let ready = job.state.duplicates.is_empty();
                let outcome = if ready {
                    Outcome::Ready
                } else {
                    Outcome::Duplicates
                };
                self.end_preparation(project, &job, &active, outcome)
                    .await?;
                continue;
            };
            let streams: Vec<Uuid> = page.into_iter().map(|(_, stream)| stream).collect();
            self.cell().wait_for_bulk_turn().await;
            let is_written = self
                .apply_schema(
                    project,
                    &meta_of(id),
                    &Arc::new(schema),
                    &streams,
                    |collisions| {
                        self.report(
                            project,
                            &job,
                            collisions,
                            cursor.clone(),
                            streams.len() as u64,
                        )
                        .map(Some)
                    },
                )
                .await?;
            // A page whose customers are written all the time gets through in smaller parts.
            size = if is_written {
                PAGE.min(size * 2)
            } else {
                (size / 4).max(1)
            };
        }
    }

    /// The preparation's own command of a step: the collisions, then the progress.
    fn report(
        &self,
        project: &Project,
        job: &Loaded<Preparation>,
        collisions: &[Collision],
        cursor: Vec<u8>,
        customers: u64,
    ) -> Result<Prepared, CommandError> {
        let at = self.now();
        let mut events = Vec::new();
        for collision in collisions {
            let command = PreparationCommand::ReportDuplicate {
                at,
                field: collision.field.clone(),
                customer_ref: collision.customer,
                holder_ref: collision.holder,
            };
            events.extend(decide(&folded(&*job.state, &events), &command)?);
        }
        let checked = job.state.checked + customers;
        events.extend(decide(
            &job.state,
            &PreparationCommand::Progress {
                at,
                checked,
                cursor,
            },
        )?);
        Ok(self
            .cell()
            .prepare(project, job, events, &meta_of(job.stream))?)
    }

    /// Ends the job and tells the schema. A lost race is for the next round of the walk.
    async fn end_preparation(
        &self,
        project: &Project,
        job: &Loaded<Preparation>,
        active: &Loaded<ProjectSchema>,
        outcome: Outcome,
    ) -> Result<(), CommandError> {
        let (at, meta) = (self.now(), meta_of(job.stream));
        let events = decide(&job.state, &PreparationCommand::Finish { at, outcome })?;
        let mut chunk = vec![self.cell().prepare(project, job, events, &meta)?];
        let ready = outcome == Outcome::Ready;
        let end = SchemaCommand::EndPreparation {
            at,
            preparation_id: job.stream,
            ready,
        };
        let events = schema::decide(&active.state, &end)?;
        if !events.is_empty() {
            chunk.push(self.cell().prepare(project, active, events, &meta)?);
        }
        self.cell().append_all(chunk).await?;
        Ok(())
    }

    /// The command that ends a preparation whose definition is no longer wanted.
    pub(crate) async fn abandon_preparation(
        &self,
        project: &Project,
        id: Uuid,
        meta: &Meta,
    ) -> Result<Option<Prepared>, CommandError> {
        let job = self.cell().load::<Preparation>(project, id).await?;
        if !job.state.is_running() {
            return Ok(None);
        }
        let events = decide(
            &job.state,
            &PreparationCommand::Finish {
                at: self.now(),
                outcome: Outcome::Failed,
            },
        )?;
        Ok(Some(self.cell().prepare(project, &job, events, meta)?))
    }

    /// Brings customers who were registered while a schema took effect on an empty project in line with it.
    pub(crate) async fn claim_late_comers(&self, project: &Project) -> Result<(), CommandError> {
        let active = self.present_schema(project).await?;
        if active.schema.unique_fields().next().is_none() {
            return Ok(());
        }
        let meta = Meta {
            request_id: "schema-late-comers".into(),
            ..Meta::default()
        };
        let mut cursor = Vec::new();
        let mut size = PAGE;
        loop {
            let page = self
                .cell()
                .claims_page(project, claim_kind::CUSTOMER_ID, &cursor, size)
                .await?;
            let Some((last, _)) = page.last().cloned() else {
                return Ok(());
            };
            let streams: Vec<Uuid> = page.into_iter().map(|(_, stream)| stream).collect();
            if self
                .apply_schema(project, &meta, &active.schema, &streams, |_| Ok(None))
                .await?
            {
                cursor = last;
            } else {
                size = (size / 4).max(1);
            }
        }
    }

    /// Applies a schema to customers in one chunk, with a command of the caller that is told who collided.
    ///
    /// A customer whose claim is taken stays as it is. Customers who changed meanwhile are loaded and decided again; after
    /// the last lost race nothing is written, and the answer is `false`.
    async fn apply_schema(
        &self,
        project: &Project,
        meta: &Meta,
        schema: &Arc<Schema>,
        streams: &[Uuid],
        own: impl Fn(&[Collision]) -> Result<Option<Prepared>, CommandError>,
    ) -> Result<bool, CommandError> {
        let mut collisions: Vec<Collision> = Vec::new();
        let mut collided: HashSet<Uuid> = HashSet::new();
        let mut races = 0;
        // Each round either ends, or finds further collisions, or follows a customer's own write.
        while races < DECISIONS {
            let command = CustomerCommand::ApplySchema(ApplySchema {
                schema: Arc::clone(schema),
                at: self.now(),
            });
            let mut chunk: Vec<Prepared> = own(&collisions)?.into_iter().collect();
            for before in self.cell().load_many::<Customer>(project, streams).await? {
                if collided.contains(&before.stream) || !before.state.is_active() {
                    continue;
                }
                let events = customer::decide(&before.state, &command)?;
                if !events.is_empty() {
                    chunk.push(self.cell().prepare(project, &before, events, meta)?);
                }
            }
            if chunk.is_empty() {
                return Ok(true);
            }
            let of: Vec<Uuid> = chunk.iter().map(Prepared::stream).collect();
            let ChunkVerdict::Lost(lost) = self.cell().append_all(chunk).await? else {
                return Ok(true);
            };
            let known = collisions.len();
            let mut has_raced = false;
            for (index, verdict) in lost {
                let Verdict::ClaimTaken { claim, holder } = verdict else {
                    has_raced = true;
                    continue;
                };
                // An identity that follows a respelled value can be taken too.
                let field = claim
                    .field()
                    .map(str::to_owned)
                    .or_else(|| Some(schema.bound_field(claim.channel()?)));
                let (Some(field), Some(customer)) = (field, of.get(index)) else {
                    continue;
                };
                if collided.insert(*customer) {
                    collisions.push(Collision {
                        field,
                        customer: *customer,
                        holder,
                    });
                }
            }
            races += usize::from(has_raced || collisions.len() == known);
        }
        Ok(false)
    }
}
