//! One run of a purge: from where it stands to its end, or to the stop of the server.
//!
//! A chunk is one append, all or nothing: the erasures and the record of how far the purge is. So a run that is killed
//! anywhere goes on behind the last customer who was erased, and nobody is counted twice.

use std::sync::Arc;

use roster_domain::meta::Meta;
use roster_domain::purge::{
    FAILURE_PART, FailureDetail, Purge, PurgeCommand, PurgeCounts, PurgeStatus, StoredFailure,
    Target, decide,
};
use roster_store::{ChunkVerdict, Loaded, Project};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::chunk::{self, Chunk};
use super::stage;
use crate::jobs::{JobOptions, Ran};
use crate::leased::Held;
use crate::{CommandError, Directory};

/// The customers of a run's first chunk; each further one has four times as many. A run that is soon stopped has then
/// moved on.
const FIRST: usize = 32;
/// The most customers of a chunk: 5,000 commands less the purge's own.
const MOST: usize = 4_999;
/// Lost appends of one customer alone after which that customer is left.
const LOSSES: usize = 20;

/// One run of a purge.
pub(super) struct Run {
    directory: Directory,
    project: Arc<Project>,
    id: Uuid,
    held: Held,
    pause: Option<std::time::Duration>,
    meta: Meta,
}

/// How an append of a chunk ended.
enum Recorded {
    /// It is in the log.
    On,
    /// Nothing was written: customers of it changed, or the purge did.
    Lost,
}

impl Run {
    pub(super) fn new(
        directory: Directory,
        project: Arc<Project>,
        id: Uuid,
        held: Held,
        options: &JobOptions,
    ) -> Self {
        let meta = Meta {
            request_id: format!("purge-{id}"),
            ..Meta::default()
        };
        Self {
            directory,
            project,
            id,
            held,
            pause: options.purge_pause,
            meta,
        }
    }

    /// Goes on to the end of the purge or the stop of the server.
    pub(super) async fn go(&mut self, stop: &CancellationToken) -> Result<Ran, CommandError> {
        let purge = self.load().await?;
        if purge.state.status.is_final() || !purge.state.is_started() {
            return Ok(Ran::Ended);
        }
        let Some(targets) = stage::targets(self.directory.cell(), &purge).await? else {
            return self
                .give_up("the list of the customers can no longer be read")
                .await;
        };
        let (mut size, mut losses) = (FIRST, 0);
        loop {
            if stop.is_cancelled() || !self.held.keep(self.directory.cell()).await? {
                return Ok(Ran::Stopped);
            }
            let purge = self.load().await?;
            if purge.state.status.is_final() {
                return Ok(Ran::Ended);
            }
            let from = usize::try_from(purge.state.counts.total()).unwrap_or(usize::MAX);
            let rest = targets.0.get(from..).unwrap_or_default();
            if rest.is_empty() || purge.state.cancel_requested {
                let status = if rest.is_empty() {
                    purge.state.completed_status()
                } else {
                    PurgeStatus::Cancelled
                };
                return self.finish(status).await;
            }
            let room = self.directory.cell().bulk_room().commands;
            let next = &rest[..size.min(room).clamp(1, MOST).min(rest.len())];
            match self.record(&purge, next, losses).await? {
                Recorded::On => {
                    (size, losses) = ((size * 4).min(MOST), 0);
                    if let Some(pause) = self.pause {
                        stop.run_until_cancelled(sleep(pause)).await;
                    }
                }
                Recorded::Lost => {
                    losses += usize::from(next.len() == 1);
                    size = (next.len() / 4).max(1);
                }
            }
        }
    }

    /// Counts everybody who is left as failed, for one reason, and ends the purge.
    pub(super) async fn give_up(&self, reason: &str) -> Result<Ran, CommandError> {
        loop {
            let purge = self.load().await?;
            let state = &purge.state;
            if state.status.is_final() || !state.is_started() {
                return Ok(Ran::Ended);
            }
            if state.remaining() == 0 {
                return self.finish(state.completed_status()).await;
            }
            let detail = FailureDetail {
                customer_user_id: None,
            };
            let failure = StoredFailure {
                about: None,
                reason: reason.to_owned(),
                detail: purge
                    .seal(FAILURE_PART, &detail.encode())
                    .unwrap_or_default(),
            };
            let left = Chunk {
                commands: Vec::new(),
                erased: Vec::new(),
                counts: PurgeCounts {
                    failed: state.remaining(),
                    ..PurgeCounts::default()
                },
                failures: vec![failure],
            };
            self.append(&purge, left).await?;
        }
    }

    /// Decides the next customers and appends their erasures with the record of them.
    async fn record(
        &self,
        purge: &Loaded<Purge>,
        next: &[Target],
        losses: usize,
    ) -> Result<Recorded, CommandError> {
        let (directory, project) = (&self.directory, &self.project);
        directory.cell().wait_for_bulk_turn().await;
        let chunk = match next {
            [only] if losses >= LOSSES => chunk::leave(directory, project, purge, only).await?,
            _ => chunk::decide(directory, project, purge, next, &self.meta).await?,
        };
        self.append(purge, chunk).await
    }

    async fn append(&self, purge: &Loaded<Purge>, chunk: Chunk) -> Result<Recorded, CommandError> {
        let Chunk {
            commands,
            erased,
            counts,
            failures,
        } = chunk;
        let apply = PurgeCommand::ApplyChunk {
            at: self.directory.now(),
            from: purge.state.counts.total(),
            counts,
            failures,
        };
        let events = decide(&purge.state, &apply)?;
        let cell = self.directory.cell();
        let own = cell.prepare(&self.project, purge, events, &self.meta)?;
        let mut all = Vec::with_capacity(commands.len() + 1);
        all.push(own);
        all.extend(commands);
        match cell.append_all(all).await? {
            ChunkVerdict::Accepted { .. } => {
                for id in &erased {
                    self.directory.forget_id(&self.project, id);
                }
                Ok(Recorded::On)
            }
            ChunkVerdict::Lost(_) => Ok(Recorded::Lost),
        }
    }

    async fn load(&self) -> Result<Loaded<Purge>, CommandError> {
        Ok(self
            .directory
            .cell()
            .load::<Purge>(&self.project, self.id)
            .await?)
    }

    /// Ends the purge, unless it ended.
    async fn finish(&self, status: PurgeStatus) -> Result<Ran, CommandError> {
        let at = self.directory.now();
        let decide = |state: &Purge| {
            if state.status.is_final() {
                return Ok(Vec::new());
            }
            Ok(decide(state, &PurgeCommand::Finish { at, status })?)
        };
        let finished = self
            .directory
            .execute(&self.project, self.id, &self.meta, decide)
            .await?
            .value;
        tracing::info!(
            purge = %self.id,
            status = finished.status.as_str(),
            deleted = finished.counts.deleted,
            failed = finished.counts.failed,
            "a purge ended"
        );
        Ok(Ran::Ended)
    }
}
