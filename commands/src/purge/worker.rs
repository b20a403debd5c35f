//! One run of a purge: from where it stands to its end, or to the stop of the server.
//!
//! A chunk is one append, all or nothing: the erasures and the record of how far the purge is. So a run that is killed
//! anywhere goes on behind the last customer who was erased, and nobody is counted twice. While one chunk is written, the next
//! one is decided and sent behind it.

use std::sync::Arc;

use roster_domain::meta::Meta;
use roster_domain::purge::{
    FAILURE_PART, FailureDetail, Purge, PurgeCommand, PurgeCounts, PurgeStatus, StoredFailure,
    Target, decide,
};
use roster_store::{ChunkVerdict, Loaded, Project, Sent};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::chunk::{self, Chunk};
use super::stage;
use crate::jobs::{JobOptions, Ran};
use crate::leased::Held;
use crate::traces::Traces;
use crate::{CommandError, Directory};

/// The customers of a run's first chunk; each further one has [`GROWTH`] times as many. A run that is soon stopped has then
/// moved on.
const FIRST: usize = 32;
/// How fast chunks grow.
const GROWTH: usize = 8;
/// The most customers of a chunk: the read side follows one chunk while the next ones commit, and what it has to do after the
/// last one is short.
const MOST: usize = 1_000;
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
    /// What is kept elsewhere about those whose erasure is written: it is looked for once more, for what came in meanwhile.
    written: Traces,
}

/// The next customers, decided.
struct Ready {
    /// How many they are.
    count: usize,
    chunk: Chunk,
}

/// A chunk on its way into the log.
struct Going {
    sent: Sent,
    /// How many customers it is about.
    count: usize,
    /// How often it was lost before.
    losses: usize,
    erased: Vec<String>,
    traces: Traces,
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
            written: Traces::default(),
        }
    }

    /// Goes on to the end of the purge or the stop of the server.
    pub(super) async fn go(&mut self, stop: &CancellationToken) -> Result<Ran, CommandError> {
        let ran = self.chunks(stop).await;
        self.forget_written().await?;
        ran
    }

    /// Takes away what came in while erasures were written.
    async fn forget_written(&mut self) -> Result<(), CommandError> {
        let written = std::mem::take(&mut self.written);
        self.directory.forget_traces(&self.project, &written).await
    }

    async fn chunks(&mut self, stop: &CancellationToken) -> Result<Ran, CommandError> {
        let mut purge = self.load().await?;
        if purge.state.status.is_final() || !purge.state.is_started() {
            return Ok(Ran::Ended);
        }
        let Some(targets) = stage::targets(self.directory.cell(), &purge).await? else {
            return self
                .give_up("the list of the customers can no longer be read")
                .await;
        };
        let (mut size, mut losses) = (FIRST, 0);
        // The purge is the one that there will be once the chunk on its way is written.
        let mut going: Option<Going> = None;
        loop {
            let stopped = stop.is_cancelled() || !self.held.keep(self.directory.cell()).await?;
            let from = usize::try_from(purge.state.counts.total()).unwrap_or(usize::MAX);
            let rest = targets.0.get(from..).unwrap_or_default();
            let ends =
                purge.state.status.is_final() || purge.state.cancel_requested || rest.is_empty();
            // Who waits for the directory waits for one chunk, not for two.
            let one = self.pause.is_some() || self.directory.cell().is_busy();
            let mut before = going.take_if(|_| stopped || ends || one);
            if before.is_none() {
                if stopped {
                    return Ok(Ran::Stopped);
                }
                if ends {
                    return self.end(&purge).await;
                }
                let ready = self.decide(&purge, rest, size, losses).await?;
                let (next, after) = self.send(&purge, ready, losses, going.as_ref()).await?;
                before = going.replace(next);
                purge = after;
                (size, losses) = ((size * GROWTH).min(MOST), 0);
            }
            if let Some(before) = before {
                let (count, lost) = (before.count, before.losses + 1);
                if self.is_written(before).await? {
                    if let Some(pause) = self.pause {
                        stop.run_until_cancelled(sleep(pause)).await;
                    }
                } else {
                    // Customers of it changed, or the purge did: where a person asked it to stop, that is what it reads now. What
                    // was sent behind it is lost with it.
                    going = None;
                    purge = self.load().await?;
                    (size, losses) = ((count / 4).max(1), if count == 1 { lost } else { 0 });
                }
            }
        }
    }

    /// Waits until a chunk is written; `false` where it is lost.
    async fn is_written(&mut self, going: Going) -> Result<bool, CommandError> {
        let ChunkVerdict::Accepted { .. } = going.sent.verdict().await? else {
            return Ok(false);
        };
        for id in &going.erased {
            self.directory.forget_id(&self.project, id);
        }
        self.written.extend(&going.traces);
        Ok(true)
    }

    /// Ends a purge that has nobody left, or that a person asked to stop.
    async fn end(&mut self, purge: &Loaded<Purge>) -> Result<Ran, CommandError> {
        let state = &purge.state;
        if state.status.is_final() {
            return Ok(Ran::Ended);
        }
        let status = if state.remaining() == 0 {
            state.completed_status()
        } else {
            PurgeStatus::Cancelled
        };
        self.forget_written().await?;
        self.finish(status).await
    }

    /// Counts everybody who is left as failed, for one reason, and ends the purge.
    pub(super) async fn give_up(&mut self, reason: &str) -> Result<Ran, CommandError> {
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
                traces: Traces::default(),
                counts: PurgeCounts {
                    failed: state.remaining(),
                    ..PurgeCounts::default()
                },
                failures: vec![failure],
            };
            let left = Ready {
                count: usize::try_from(state.remaining()).unwrap_or(usize::MAX),
                chunk: left,
            };
            let (going, _) = self.send(&purge, left, 0, None).await?;
            self.is_written(going).await?;
        }
    }

    /// Decides the next customers by their present states, at most so many.
    async fn decide(
        &self,
        purge: &Loaded<Purge>,
        rest: &[Target],
        most: usize,
        losses: usize,
    ) -> Result<Ready, CommandError> {
        let (directory, project) = (&self.directory, &self.project);
        let room = directory.cell().bulk_room().commands.saturating_sub(1);
        let next = &rest[..most.min(room).max(1).min(rest.len())];
        let chunk = match next {
            [only] if losses >= LOSSES => chunk::leave(directory, project, purge, only).await?,
            _ => chunk::decide(directory, project, purge, next, &self.meta).await?,
        };
        Ok(Ready {
            count: usize::try_from(chunk.counts.total()).unwrap_or(next.len()),
            chunk,
        })
    }

    /// Sends a chunk into the log, once nothing else is kept of those who are erased by it and by what was written. The purge is as
    /// the chunk before leaves it, and as this one does in the answer.
    async fn send(
        &mut self,
        purge: &Loaded<Purge>,
        ready: Ready,
        losses: usize,
        behind: Option<&Going>,
    ) -> Result<(Going, Loaded<Purge>), CommandError> {
        let Ready { count, chunk } = ready;
        let apply = PurgeCommand::ApplyChunk {
            at: self.directory.now(),
            from: purge.state.counts.total(),
            counts: chunk.counts,
            failures: chunk.failures,
        };
        let events = decide(&purge.state, &apply)?;
        let cell = self.directory.cell();
        let prepared = cell.prepare_with_state(&self.project, purge, events, &self.meta);
        let (own, after) = prepared?;
        let after = purge.moved(own.len(), after);
        let mut all = Vec::with_capacity(chunk.commands.len() + 1);
        all.push(own);
        all.extend(chunk.commands);
        cell.wait_for_bulk_turn().await;
        let mut kept = self.written.clone();
        kept.extend(&chunk.traces);
        self.directory.forget_traces(&self.project, &kept).await?;
        self.written = Traces::default();
        let going = Going {
            sent: cell
                .send_all(all, behind.map(|before| &before.sent))
                .await?,
            count,
            losses,
            erased: chunk.erased,
            traces: chunk.traces,
        };
        Ok((going, after))
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
