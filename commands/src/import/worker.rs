//! One run of an import: from where it stands to its end, or to the stop of the server.
//!
//! A chunk is one append, all or nothing: the changes of its customers and the record of how far the import is. So a run
//! that is killed anywhere goes on behind the last row that was applied, and no row is applied twice. While one chunk
//! commits, the next one is decided, and whom the one behind it names is looked up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roster_domain::import::{Import, ImportCommand, ImportStatus, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_store::{ChunkVerdict, Prepared, Project};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::flow::{Flow, GiveUp, Lost, Pass, Recorded};
use super::progress::Tally;
use super::recall::Recall;
use super::source::Source;
use super::work::{Bench, Changes, Looked, WorkError, Worked};
use crate::jobs::{JobOptions, Ran};
use crate::leased::Held;
use crate::{CommandError, Directory, known};

/// The most rows of a chunk. Three chunks are worked on at once, and fewer rows of each take less memory; an append of 5,000
/// commands costs no less for each of them.
const MOST_ROWS: usize = 3_000;
/// The rows of a run's first chunk; each further one has twice as many. A run that is soon stopped has then moved on.
const FIRST_ROWS: usize = 512;
/// Lost appends after which a chunk is cut into quarters.
const LOSSES: usize = 3;

/// One run of an import.
pub(super) struct Run {
    directory: Directory,
    project: Arc<Project>,
    id: Uuid,
    held: Held,
    options: JobOptions,
    meta: Meta,
    /// Rows that changed nothing and are not recorded yet.
    carried: Tally,
    /// Where the first row starts that is not recorded.
    offset: u64,
    recorded: Instant,
    /// What is to be known of rows that are written.
    findings: Vec<known::Finding>,
}

impl Run {
    pub(super) fn new(
        directory: Directory,
        project: Arc<Project>,
        id: Uuid,
        held: Held,
        options: JobOptions,
    ) -> Self {
        let meta = Meta {
            request_id: format!("import-{id}"),
            ..Meta::default()
        };
        Self {
            directory,
            project,
            id,
            held,
            options,
            meta,
            carried: Tally::default(),
            offset: 0,
            recorded: Instant::now(),
            findings: Vec::new(),
        }
    }

    /// Goes on to the end of the import or the stop of the server.
    pub(super) async fn go(&mut self, stop: &CancellationToken) -> Result<Ran, GiveUp> {
        let mut most = MOST_ROWS;
        loop {
            let import = self
                .directory
                .cell()
                .load::<Import>(&self.project, self.id)
                .await?;
            if import.state.status.is_final() || !import.state.is_started() {
                return Ok(Ran::Ended);
            }
            let mut source = Source::at(self.directory.cell().clone(), &import.state);
            let bench = Arc::new(Bench {
                directory: self.directory.clone(),
                project: Arc::clone(&self.project),
                recall: Recall::of(&self.project, &import.state),
                import,
                meta: self.meta.clone(),
                looks_up_values: AtomicBool::new(false),
            });
            self.carried = Tally::default();
            self.offset = bench.import.state.next_offset;
            match self.stream(&bench, &mut source, most, stop).await? {
                Pass::Ended => return Ok(Ran::Ended),
                Pass::Stopped => return Ok(Ran::Stopped),
                Pass::Again => {}
                Pass::Smaller => most = (most / 4).max(1),
            }
        }
    }

    /// Works through the rows; while one chunk commits, the next one is decided, and whom the one behind it names is looked up.
    async fn stream(
        &mut self,
        bench: &Arc<Bench>,
        source: &mut Source,
        most: usize,
        stop: &CancellationToken,
    ) -> Result<Pass, GiveUp> {
        let mut ready: Option<Worked> = None;
        let mut found: Option<Looked> = None;
        // What the chunk changed that was committed while `found` was looked up.
        let mut earlier = Changes::default();
        // How reading ended; what was read before is still applied.
        let mut read: Option<Result<(), GiveUp>> = None;
        let mut size = FIRST_ROWS.min(most);
        loop {
            if stop.is_cancelled() {
                return Ok(Pass::Stopped);
            }
            if !self.held.keep(self.directory.cell()).await? {
                return Ok(Pass::Stopped);
            }
            let changes = ready
                .as_ref()
                .map_or_else(Changes::default, Worked::changes);
            let findings = std::mem::take(&mut self.findings);
            let (learned, committed, decided, next) = tokio::join!(
                learn(bench, findings),
                self.commit(bench, ready.take()),
                decide_found(bench, found.take()),
                Box::pin(look_ahead(bench, source, size, read.is_some()))
            );
            size = (size * 2).min(most);
            learned?;
            match committed? {
                Flow::On => {}
                Flow::Over => return Ok(Pass::Ended),
                Flow::Moved => return Ok(Pass::Again),
                Flow::Smaller => return Ok(Pass::Smaller),
            }
            if let Some(pause) = self.options.chunk_pause {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Ok(Pass::Stopped),
                }
            }
            ready = decided?;
            match next {
                Ok(Some(looked)) => found = Some(looked),
                Ok(None) => read = read.or(Some(Ok(()))),
                Err(error) => read = Some(Err(error)),
            }
            // Somebody was decided on as they were two chunks ago: where that came to nothing, no append would tell.
            let is_old = |ready: &Worked| ready.rests_on(&earlier) || ready.rests_on(&changes);
            if let Some(old) = ready.take_if(|ready| is_old(ready)) {
                ready = Some(bench.work(old.batch, HashMap::new()).await?);
            }
            earlier = changes;
            if ready.is_none() && found.is_none() {
                learn(bench, std::mem::take(&mut self.findings)).await?;
                return match read {
                    Some(Err(error)) => Err(error),
                    _ => self.complete().await,
                };
            }
        }
    }

    /// Appends a chunk with its record. What is lost is decided again, and the chunk is sent again.
    async fn commit(&mut self, bench: &Arc<Bench>, worked: Option<Worked>) -> Result<Flow, GiveUp> {
        let Some(mut worked) = worked else {
            return Ok(Flow::On);
        };
        let mut taken: HashMap<Claim, Uuid> = HashMap::new();
        let mut losses = 0;
        loop {
            let batch = Arc::clone(&worked.batch);
            let findings = std::mem::take(&mut worked.findings);
            let tally = self.carried.clone().then(worked.tally);
            let mut changes = worked.commands;
            changes.extend(worked.void);
            if changes.is_empty() && !tally.is_due(self.recorded) {
                self.carried = tally;
                self.findings = findings;
                return Ok(Flow::On);
            }
            let guard = (!changes.is_empty())
                .then_some((self.project.schema_stream, worked.schema_version));
            match self.record(tally, changes, guard).await? {
                Recorded::Flow(flow) => {
                    if matches!(flow, Flow::On) {
                        self.findings = findings;
                    }
                    return Ok(flow);
                }
                Recorded::Lost(lost) => {
                    losses += usize::from(lost.has_races);
                    if losses > LOSSES && batch.rows.len() > 1 {
                        return Ok(Flow::Smaller);
                    }
                    if !lost.values.is_empty() {
                        bench.looks_up_values.store(true, Ordering::Relaxed);
                        taken.extend(lost.values);
                    }
                    worked = bench.work(batch, taken.clone()).await?;
                }
            }
        }
    }

    /// Appends the record of rows together with the changes that they made, unless the import ended or moved on.
    async fn record(
        &mut self,
        mut tally: Tally,
        changes: Vec<Prepared>,
        guard: Option<(Uuid, i32)>,
    ) -> Result<Recorded, GiveUp> {
        let cell = self.directory.cell();
        let import = cell.load::<Import>(&self.project, self.id).await?;
        if import.state.status.is_final() {
            return Ok(Recorded::Flow(Flow::Over));
        }
        if import.state.cancel_requested {
            self.finish(ImportStatus::Cancelled, None).await?;
            return Ok(Recorded::Flow(Flow::Over));
        }
        if import.state.next_offset != self.offset {
            return Ok(Recorded::Flow(Flow::Moved));
        }
        tally.drop_surplus_warnings(import.state.warnings);
        let to = tally.to;
        let apply = ImportCommand::ApplyChunk {
            at: self.directory.now(),
            next_offset: to,
            rows: tally.rows,
            counts: tally.counts,
            warnings: tally.warnings,
            issues: tally.issues,
        };
        let events = decide(&import.state, &apply).map_err(CommandError::from)?;
        let mut own = cell.prepare(&self.project, &import, events, &self.meta)?;
        if let Some((stream, version)) = guard {
            own = own.guard(stream, version);
        }
        let mut chunk = Vec::with_capacity(changes.len() + 1);
        chunk.push(own);
        chunk.extend(changes);
        cell.wait_for_bulk_turn().await;
        Ok(match cell.append_all(chunk).await? {
            ChunkVerdict::Accepted { .. } => {
                self.carried = Tally::default();
                self.offset = to;
                self.recorded = Instant::now();
                Recorded::Flow(Flow::On)
            }
            ChunkVerdict::Lost(lost) => Recorded::Lost(Lost::of(lost)),
        })
    }

    /// Records what is carried and ends the import: every row is read.
    async fn complete(&mut self) -> Result<Pass, GiveUp> {
        while self.carried.rows > 0 {
            match self.record(self.carried.clone(), Vec::new(), None).await? {
                Recorded::Flow(Flow::On) | Recorded::Lost(_) => {}
                Recorded::Flow(Flow::Over) => return Ok(Pass::Ended),
                Recorded::Flow(Flow::Moved | Flow::Smaller) => return Ok(Pass::Again),
            }
        }
        let import = self
            .directory
            .cell()
            .load::<Import>(&self.project, self.id)
            .await?;
        let cancelled =
            import.state.cancel_requested && import.state.next_offset < import.state.staged_bytes;
        let status = if cancelled {
            ImportStatus::Cancelled
        } else {
            import.state.completed_status()
        };
        self.finish(status, None).await?;
        Ok(Pass::Ended)
    }

    /// Ends the import, unless it ended.
    pub(super) async fn finish(
        &self,
        status: ImportStatus,
        reason: Option<String>,
    ) -> Result<(), CommandError> {
        let at = self.directory.now();
        let decide = |state: &Import| {
            if state.status.is_final() {
                return Ok(Vec::new());
            }
            Ok(decide(
                state,
                &ImportCommand::Finish {
                    at,
                    status,
                    reason: reason.clone(),
                },
            )?)
        };
        let finished = self
            .directory
            .execute(&self.project, self.id, &self.meta, decide)
            .await?;
        let counts = finished.value.counts;
        tracing::info!(
            import = %self.id,
            status = finished.value.status.as_str(),
            rows = finished.value.rows,
            failed = counts.failed,
            "an import ended"
        );
        Ok(())
    }
}

/// Remembers what is known of rows that are written.
async fn learn(bench: &Bench, findings: Vec<known::Finding>) -> Result<(), CommandError> {
    known::learn(bench.directory.cell(), bench.recall.source, &findings).await
}

/// Decides a batch whose customers were looked up.
async fn decide_found(
    bench: &Arc<Bench>,
    found: Option<Looked>,
) -> Result<Option<Worked>, WorkError> {
    match found {
        Some(looked) => bench.decide(looked, HashMap::new()).await.map(Some),
        None => Ok(None),
    }
}

/// Reads the next rows and finds whom they name; `None` behind the last one.
async fn look_ahead(
    bench: &Arc<Bench>,
    source: &mut Source,
    most: usize,
    is_read: bool,
) -> Result<Option<Looked>, GiveUp> {
    if is_read {
        return Ok(None);
    }
    let room = bench
        .directory
        .cell()
        .bulk_room()
        .commands
        .saturating_sub(2);
    let Some(batch) = source.next(room.clamp(1, most)).await? else {
        return Ok(None);
    };
    Ok(Some(bench.look(batch).await?))
}
