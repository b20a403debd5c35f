//! Use cases on runs: start, cancel.

use roster_domain::connection::{self, Connection, ConnectionCommand, Mode};
use roster_domain::meta::Meta;
use roster_domain::stream::claim_kind;
use roster_domain::sync_run::{
    RunStatus, SyncRun, SyncRunCommand, SyncRunRefusal, Trigger, decide,
};
use roster_domain::{Personal, meta::Principal};
use roster_store::{ChunkVerdict, Loaded, Project, Verdict};
use uuid::Uuid;

use super::settings::check_mode;
use crate::authority::Operation;
use crate::execute::{DECISIONS, folded};
use crate::{Applied, CommandError, Context, Directory, NotFound};

/// A run as an admin wants it.
#[derive(Clone, Debug, Default)]
pub struct RunInput {
    /// Which connection, by its public id.
    pub connection_id: String,
    /// What it asks for; the connection's own mode where it is absent.
    pub mode: Option<Mode>,
    /// Whether nothing is written but the outcome.
    pub dry_run: bool,
    /// Whether more may be taken away than the guard allows.
    pub confirms_deletes: bool,
}

/// A run that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStarted {
    /// Its id, that of its stream.
    pub run_id: Uuid,
}

/// Who wants which run, and why.
pub(super) struct Wanted {
    pub(super) trigger: Trigger,
    pub(super) is_full: bool,
    pub(super) dry_run: bool,
    pub(super) confirms_deletes: bool,
    pub(super) principal: Principal,
    pub(super) subject: Personal<String>,
}

impl From<SyncRunRefusal> for CommandError {
    fn from(refusal: SyncRunRefusal) -> Self {
        match refusal {
            SyncRunRefusal::RunNotFound => Self::NotFound(NotFound::Run),
            SyncRunRefusal::AlreadyQueued
            | SyncRunRefusal::AlreadyFinished
            | SyncRunRefusal::NotFinished
            | SyncRunRefusal::OutOfOrder
            | SyncRunRefusal::CountsDisagree
            | SyncRunRefusal::StatusNotFinal => Self::internal("a run was run out of order"),
        }
    }
}

impl Directory {
    /// Queues a run of a connection.
    ///
    /// # Errors
    /// [`CommandError::RunInProgress`] with the run that goes on, [`CommandError::NotFound`],
    /// [`CommandError::ModeUnsupported`].
    pub async fn start_sync(
        &self,
        ctx: &Context,
        input: &RunInput,
    ) -> Result<Applied<RunStarted>, CommandError> {
        ctx.authorise(Operation::SyncConnection)?;
        if input.confirms_deletes {
            ctx.authorise(Operation::PurgeByFilter)?;
        }
        let not_found = || CommandError::NotFound(NotFound::Connection);
        let project = self.cell().project(&ctx.scope).await?;
        let project = project.ok_or_else(not_found)?;
        for _ in 0..DECISIONS {
            let connection = self.connection(&project, &input.connection_id).await?;
            let mut settings = connection.state.settings.clone();
            settings.mode = input.mode.unwrap_or(settings.mode);
            if settings.mode != connection.state.settings.mode {
                check_mode(&settings, self.source(&settings.provider)?.provider())?;
            }
            let wanted = Wanted {
                trigger: Trigger::Manual,
                is_full: settings.mode == Mode::Full,
                dry_run: input.dry_run,
                confirms_deletes: input.confirms_deletes,
                principal: ctx.actor.principal.clone(),
                subject: ctx.actor.subject.clone(),
            };
            let queued = self
                .queue(&project, &connection, wanted, &ctx.meta())
                .await?;
            if let Some(queued) = queued {
                return Ok(queued);
            }
        }
        Err(CommandError::Unavailable)
    }

    /// Queues a run; `None` where a race was lost.
    pub(super) async fn queue(
        &self,
        project: &Project,
        connection: &Loaded<Connection>,
        wanted: Wanted,
        meta: &Meta,
    ) -> Result<Option<Applied<RunStarted>>, CommandError> {
        let (at, run_id) = (self.now(), self.new_id());
        let note = ConnectionCommand::NoteQueued {
            at,
            run_id,
            trigger: wanted.trigger,
            is_full: wanted.is_full,
        };
        let noted = connection::decide(&connection.state, &note)?;
        let new = self.cell().new_stream::<SyncRun>(run_id);
        let queue = SyncRunCommand::Queue {
            at,
            id: run_id,
            connection_id: connection.stream,
            trigger: wanted.trigger,
            is_full: wanted.is_full,
            dry_run: wanted.dry_run,
            confirms_deletes: wanted.confirms_deletes,
            principal: wanted.principal,
            subject: wanted.subject,
        };
        let mut queued = decide(&new.state, &queue)?;
        let cell = self.cell();
        if let Some(place) = self.left_at(project, &connection.state, &queue).await? {
            let queued_run = folded(&*new.state, &queued);
            queued.extend(decide(
                &queued_run,
                &SyncRunCommand::Continue { at, place },
            )?);
        }
        let commands = vec![
            cell.prepare(project, connection, noted, meta)?,
            cell.prepare(project, &new, queued, meta)?,
        ];
        match cell.append_all(commands).await? {
            ChunkVerdict::Accepted { last_position } => {
                self.job_started().notify_one();
                Ok(Some(Applied::at(RunStarted { run_id }, last_position)))
            }
            ChunkVerdict::Lost(lost) => {
                let active = lost.into_iter().find_map(|(_, verdict)| match verdict {
                    Verdict::ClaimTaken { claim, holder }
                        if claim.kind == claim_kind::ACTIVE_RUN =>
                    {
                        Some(holder)
                    }
                    _ => None,
                });
                match active {
                    Some(run_id) => Err(CommandError::RunInProgress { run_id }),
                    None => Ok(None),
                }
            }
        }
    }

    /// Where a full run goes on, if the last one of these settings had to stop on its way for its source.
    async fn left_at(
        &self,
        project: &Project,
        connection: &Connection,
        queue: &SyncRunCommand,
    ) -> Result<Option<String>, CommandError> {
        let is_whole = matches!(
            queue,
            SyncRunCommand::Queue {
                is_full: true,
                dry_run: false,
                // Who agrees to deletions wants a walk that finds them.
                confirms_deletes: false,
                ..
            }
        );
        let is_limited = connection.last_status == Some(RunStatus::RateLimited);
        let Some(last) = connection.last_run.filter(|_| is_whole && is_limited) else {
            return Ok(None);
        };
        let last = self
            .cell()
            .load_fresh::<SyncRun>(project, last)
            .await?
            .into_state();
        let is_settled_anew = last.created_at.is_none_or(|at| connection.updated_at > at);
        Ok(last.left_at().filter(|_| !is_settled_anew).cloned())
    }

    /// Asks a run to stop after the page at hand; what is applied stays. The value says whether it was unfinished.
    pub async fn cancel_sync(
        &self,
        ctx: &Context,
        run_id: Uuid,
    ) -> Result<Applied<bool>, CommandError> {
        ctx.authorise(Operation::CancelRun)?;
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(Applied::unchanged(false));
        };
        let claim = SyncRun::open_claim(run_id);
        if self.cell().holder(&project, &claim).await?.is_none() {
            return Ok(Applied::unchanged(false));
        }
        let cancel = SyncRunCommand::RequestCancel { at: self.now() };
        let cancelled = self
            .execute(&project, run_id, &ctx.meta(), |state: &SyncRun| {
                Ok(decide(state, &cancel)?)
            })
            .await?;
        self.job_started().notify_one();
        Ok(cancelled.map(|_| true))
    }
}
