//! Use cases on connections: save, delete.

use std::sync::Arc;

use roster_domain::Problem;
use roster_domain::connection::{
    Connection, ConnectionCommand, ConnectionRefusal, DeleteMissing, decide, parse_id,
};
use roster_domain::stream::claim_kind;
use roster_domain::sync_run::{self, RunStatus, SyncRun, SyncRunCommand};
use roster_store::{ChunkVerdict, Loaded, Project, Verdict};
use uuid::Uuid;

use super::rows::{Row, Tag};
use super::settings::{ConnectionInput, settle};
use super::source::Source;
use crate::authority::Operation;
use crate::execute::{DECISIONS, folded};
use crate::known;
use crate::{Applied, CommandError, Context, Directory, NotFound};

/// A connection that was saved.
#[derive(Clone, Debug)]
pub struct ConnectionSaved {
    /// The connection after it.
    pub connection: Connection,
    /// Whether it is new.
    pub created: bool,
}

/// A connection that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDeleted {
    /// The run that was stopped for it.
    pub stopped_run: Option<Uuid>,
    /// The purge of its rows.
    pub purge_id: Option<Uuid>,
}

/// Rows that are read together.
const PAGE: u32 = 5_000;

/// What becomes of the rows of a connection that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedRows {
    /// They keep their tag; a later connection may have them.
    Keep,
    /// They are erased.
    Purge,
}

impl From<ConnectionRefusal> for CommandError {
    fn from(refusal: ConnectionRefusal) -> Self {
        match refusal {
            ConnectionRefusal::ConnectionNotFound => Self::NotFound(NotFound::Connection),
            ConnectionRefusal::VersionConflict { current } => Self::VersionConflict { current },
            ConnectionRefusal::ProviderFixed => Self::invalid(Problem::new(
                ["provider"],
                "provider_fixed",
                "the provider of a connection cannot change",
            )),
            ConnectionRefusal::RunInProgress { run_id } => Self::RunInProgress { run_id },
        }
    }
}

impl Directory {
    /// Creates a connection, or settles it anew. The same settings again append nothing.
    ///
    /// # Errors
    /// [`CommandError::Invalid`], [`CommandError::ModeUnsupported`], [`CommandError::ConnectionNameTaken`],
    /// [`CommandError::VersionConflict`], [`CommandError::NotFound`] for an id that there is not; [`CommandError::Denied`]
    /// where rows are to be deleted by somebody who may delete none.
    pub async fn save_connection(
        &self,
        ctx: &Context,
        input: &ConnectionInput,
    ) -> Result<Applied<ConnectionSaved>, CommandError> {
        ctx.authorise(Operation::UpsertConnection)?;
        if !input.provider.is_empty() {
            self.source(&input.provider)?;
        }
        let project = self.writable(ctx).await?;
        let active = self.present_schema(&project).await?;
        let source = match &input.connection_id {
            Some(id) if input.provider.is_empty() => {
                let known = self.connection(&project, id).await?.into_state().settings;
                self.source(&known.provider)?
            }
            _ => self.source(&input.provider)?,
        };
        let provider = source.provider().provider;
        for _ in 0..DECISIONS {
            let before = match &input.connection_id {
                Some(id) => self.connection(&project, id).await?,
                None => self.cell().new_stream::<Connection>(self.new_id()),
            };
            let known = before.state.is_there().then_some(&before.state.settings);
            if known.is_some_and(|known| known.provider != provider) {
                return Err(ConnectionRefusal::ProviderFixed.into());
            }
            let settings = settle(input, known, &**source, &active.schema)?;
            if settings.delete_missing == DeleteMissing::Delete {
                ctx.authorise(Operation::PurgeByFilter)?;
            }
            let save = ConnectionCommand::Save {
                at: self.now(),
                id: before.stream,
                settings: Box::new(settings),
                expected_version: input.expected_version,
            };
            let events = decide(&before.state, &save)?;
            let saved = ConnectionSaved {
                connection: folded(&*before.state, &events),
                created: before.is_new(),
            };
            if events.is_empty() {
                return Ok(Applied::unchanged(saved));
            }
            let prepared = self
                .cell()
                .prepare(&project, &before, events, &ctx.meta())?;
            match self.cell().append(prepared).await? {
                Verdict::Accepted { position, .. } => return Ok(Applied::at(saved, position)),
                Verdict::ClaimTaken { claim, .. } if claim.kind == claim_kind::CONNECTION_NAME => {
                    return Err(CommandError::ConnectionNameTaken);
                }
                _ => {}
            }
        }
        Err(CommandError::Unavailable)
    }

    /// Deletes a connection: its credentials are destroyed in the same append. A run that goes on is stopped with it.
    ///
    /// # Errors
    /// [`CommandError::NotFound`], also the second time; [`CommandError::Denied`] where rows are to go with it and the caller
    /// may delete none.
    pub async fn delete_connection(
        &self,
        ctx: &Context,
        connection_id: &str,
        rows: DeletedRows,
    ) -> Result<Applied<ConnectionDeleted>, CommandError> {
        ctx.authorise(Operation::DeleteConnection)?;
        if rows == DeletedRows::Purge {
            ctx.authorise(Operation::PurgeByFilter)?;
        }
        let not_found = || CommandError::NotFound(NotFound::Connection);
        let project = self.cell().project(&ctx.scope).await?;
        let project = project.ok_or_else(not_found)?;
        if rows == DeletedRows::Purge {
            // Whose rows these are is read once the connection is gone: where reads are behind, it stays.
            let head = self.cell().head_position().await?;
            let syncing = self.syncing().ok_or(CommandError::Unavailable)?;
            if !syncing.rows().reach(head).await {
                return Err(CommandError::Unavailable);
            }
        }
        for _ in 0..DECISIONS {
            let before = self.connection(&project, connection_id).await?;
            let at = self.now();
            let mut commands = Vec::new();
            let mut events = Vec::new();
            let stopped_run = before.state.active_run;
            if let Some(run_id) = stopped_run {
                let run = self.cell().load_fresh::<SyncRun>(&project, run_id).await?;
                let stop = SyncRunCommand::Finish {
                    at,
                    status: RunStatus::Cancelled,
                    code: Some("connection_deleted".into()),
                    message: None,
                    retry_at: None,
                };
                if !run.state.status.is_final() {
                    let stopped = sync_run::decide(&run.state, &stop)?;
                    commands.push(self.cell().prepare(&project, &run, stopped, &ctx.meta())?);
                }
                let note = ConnectionCommand::NoteFinished {
                    at,
                    run_id,
                    status: RunStatus::Cancelled,
                    code: None,
                    retry_at: None,
                    clears_cursor: false,
                };
                events.extend(decide(&before.state, &note)?);
            }
            let idle = folded(&*before.state, &events);
            events.extend(decide(&idle, &ConnectionCommand::Delete { at })?);
            commands.push(
                self.cell()
                    .prepare(&project, &before, events, &ctx.meta())?,
            );
            // What a run that goes on adds goes at its end.
            known::forget_connection(self.cell(), before.stream).await?;
            let ChunkVerdict::Accepted { last_position } = self.cell().append_all(commands).await?
            else {
                continue;
            };
            self.job_started().notify_one();
            let mut deleted = ConnectionDeleted {
                stopped_run,
                purge_id: None,
            };
            let mut position = last_position;
            if rows == DeletedRows::Purge {
                let provider = &before.state.settings.provider;
                let tag = Tag {
                    project_no: project.no,
                    provider: provider.clone(),
                    connection_id: connection_id.to_owned(),
                };
                let rows = self.rows_of(&tag, last_position).await?;
                let purge = self.purge_rows(ctx, &project, &tag, rows).await?;
                deleted.purge_id = Some(purge.value.purge_id);
                position = purge.position.unwrap_or(position);
            }
            return Ok(Applied::at(deleted, position));
        }
        Err(CommandError::Unavailable)
    }

    /// Everybody who has a tag, once reads show a position.
    async fn rows_of(&self, tag: &Tag, position: i64) -> Result<Vec<Row>, CommandError> {
        let syncing = self.syncing().ok_or(CommandError::Unavailable)?;
        if !syncing.rows().reach(position).await {
            return Err(CommandError::Unavailable);
        }
        let mut all = Vec::new();
        for enabled in [true, false] {
            let mut after = String::new();
            loop {
                let page = syncing.rows().page(tag, enabled, &after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after.clone_from(&last.customer_user_id);
                all.extend(page);
            }
        }
        Ok(all)
    }

    /// A connection of a project that is there, as the database has it now.
    pub(crate) async fn connection(
        &self,
        project: &Project,
        connection_id: &str,
    ) -> Result<Loaded<Connection>, CommandError> {
        let not_found = || CommandError::NotFound(NotFound::Connection);
        let id = parse_id(connection_id).ok_or_else(not_found)?;
        // Asked of the claims, so that the id of another project's connection opens nothing.
        let loaded = self.cell().load_fresh::<Connection>(project, id).await?;
        if !loaded.state.is_there() || loaded.state.id != id {
            return Err(not_found());
        }
        let name = Connection::name_claim(&loaded.state.settings.name);
        match self.cell().holder(project, &name).await? {
            Some(holder) if holder == id => Ok(loaded),
            _ => Err(not_found()),
        }
    }

    /// A source by the word of its provider.
    pub(crate) fn source(&self, provider: &str) -> Result<&Arc<dyn Source>, CommandError> {
        let found = self.syncing().and_then(|syncing| syncing.source(provider));
        found.ok_or_else(|| {
            let message = "there is no such provider";
            CommandError::invalid(Problem::new(["provider"], "provider_unknown", message))
        })
    }

    /// Every source that connections can be made to.
    pub fn sources(&self) -> Vec<&Arc<dyn Source>> {
        let syncing = self.syncing().into_iter();
        syncing.flat_map(super::Syncing::sources).collect()
    }
}
