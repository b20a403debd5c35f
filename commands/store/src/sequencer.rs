//! Group commit: one task drains whatever waits into one append call.
//!
//! There is no linger timer: while one batch commits, the next one gathers, so the batch grows with the load. Interactive
//! commands go before bulk chunks, and after each interactive batch one waiting chunk gets its turn.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::append::{Judged, append, chunk_verdict, double_takers, verdict};
use crate::bulk::BulkControl;
use crate::prepared::{ChunkVerdict, Prepared, Verdict};
use crate::recent::Recent;
use crate::streams::StreamCache;
use crate::{Recorded, StoreError};

/// The most commands of one interactive batch (design: grows with load, bounded so that a batch stays a few milliseconds).
const BATCH_COMMANDS: usize = 256;
/// The most bytes of one interactive batch.
const BATCH_BYTES: usize = 1 << 20;

pub(crate) struct Interactive {
    pub(crate) prepared: Prepared,
    pub(crate) reply: oneshot::Sender<Result<Verdict, StoreError>>,
}

pub(crate) struct Chunk {
    pub(crate) prepared: Vec<Prepared>,
    pub(crate) reply: oneshot::Sender<Result<ChunkVerdict, StoreError>>,
}

pub(crate) struct Sequencer {
    pub(crate) pool: PgPool,
    pub(crate) interactive: mpsc::Receiver<Interactive>,
    pub(crate) bulk: mpsc::Receiver<Chunk>,
    pub(crate) cache: Arc<StreamCache>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) control: Arc<BulkControl>,
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) head: watch::Sender<i64>,
    pub(crate) stop: CancellationToken,
}

impl Sequencer {
    /// Serves until every sender is gone or the server stops; commands that were taken are answered.
    pub(crate) async fn run(mut self) {
        let mut deferred: VecDeque<Interactive> = VecDeque::new();
        let mut chunks: VecDeque<Chunk> = VecDeque::new();
        let mut connection: Option<PoolConnection<Postgres>> = None;
        loop {
            if deferred.is_empty() && chunks.is_empty() {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => break,
                    Some(command) = self.interactive.recv() => deferred.push_back(command),
                    Some(chunk) = self.bulk.recv() => chunks.push_back(chunk),
                    else => break,
                }
            }
            while deferred.len() < 4 * BATCH_COMMANDS
                && let Ok(command) = self.interactive.try_recv()
            {
                deferred.push_back(command);
            }
            if chunks.is_empty()
                && let Ok(chunk) = self.bulk.try_recv()
            {
                chunks.push_back(chunk);
            }
            let batch = take_batch(&mut deferred);
            if !batch.is_empty() {
                self.write_batch(&mut connection, batch).await;
            }
            if let Some(chunk) = chunks.pop_front() {
                self.write_chunk(&mut connection, chunk).await;
            }
        }
    }

    async fn write_batch(
        &self,
        connection: &mut Option<PoolConnection<Postgres>>,
        batch: Vec<Interactive>,
    ) {
        metrics::histogram!("roster_append_batch_commands").record(as_float(batch.len()));
        let commands: Vec<&Prepared> = batch.iter().map(|command| &command.prepared).collect();
        let answer = self.call(connection, false, &commands).await;
        self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        let judged = match answer {
            Ok(judged) => judged,
            Err(error) => return fail_batch(batch, &error),
        };
        let mut verdicts: Vec<Option<Verdict>> = (0..batch.len()).map(|_| None).collect();
        for row in &judged {
            if let (Some(slot), Some(command)) = (verdicts.get_mut(row.index), batch.get(row.index))
            {
                *slot = verdict(&command.prepared, row);
            }
        }
        self.publish(&commands, &judged);
        for (command, verdict) in batch.into_iter().zip(verdicts) {
            let answer = verdict.ok_or(StoreError::Malformed("verdict"));
            if let Ok(verdict) = &answer {
                self.remember(&command.prepared, verdict);
            }
            // A caller that went away loses nothing: the log has the command.
            drop(command.reply.send(answer));
        }
    }

    async fn write_chunk(&self, connection: &mut Option<PoolConnection<Postgres>>, chunk: Chunk) {
        let commands: Vec<&Prepared> = chunk.prepared.iter().collect();
        let doubles = double_takers(&commands);
        if !doubles.is_empty() {
            drop(chunk.reply.send(Ok(ChunkVerdict::Lost(doubles))));
            return;
        }
        let started = Instant::now();
        let answer = self.call(connection, true, &commands).await;
        if let Ok(judged) = &answer {
            self.publish(&commands, judged);
        }
        let answer = answer.and_then(|judged| chunk_verdict(&commands, &judged));
        match &answer {
            Ok(ChunkVerdict::Accepted { last_position }) => {
                let events: usize = commands.iter().map(|command| command.len()).sum();
                self.control.measured(events, started.elapsed());
                metrics::histogram!("roster_append_chunk_commands")
                    .record(as_float(commands.len()));
                // What bulk work wrote is rarely asked for next; keeping it would push out what is.
                chunk
                    .prepared
                    .iter()
                    .for_each(|command| self.cache.forget(command.stream));
                self.head
                    .send_if_modified(|head| raise(head, *last_position));
            }
            Ok(ChunkVerdict::Lost(lost)) => {
                for (index, verdict) in lost {
                    self.remember(&chunk.prepared[*index], verdict);
                }
            }
            Err(_) => chunk
                .prepared
                .iter()
                .for_each(|command| self.cache.forget(command.stream)),
        }
        drop(chunk.reply.send(answer));
    }

    /// One call on the sequencer's own connection; a broken connection is replaced at the next call.
    async fn call(
        &self,
        connection: &mut Option<PoolConnection<Postgres>>,
        all_or_nothing: bool,
        commands: &[&Prepared],
    ) -> Result<Vec<Judged>, StoreError> {
        let started = Instant::now();
        let link = match connection {
            Some(link) => link,
            None => connection.insert(self.pool.acquire().await?),
        };
        let answer = append(link, all_or_nothing, commands).await;
        if answer.is_err()
            && let Some(broken) = connection.take()
        {
            // Whatever state it is in, the next call starts on a fresh one.
            drop(broken.detach());
        }
        metrics::histogram!("roster_append_seconds").record(started.elapsed().as_secs_f64());
        answer
    }

    /// Hands what was written to this server's own readers, before anyone hears of it.
    fn publish(&self, commands: &[&Prepared], judged: &[Judged]) {
        let mut written: Vec<(i64, &Prepared, &Judged)> = judged
            .iter()
            .filter_map(|row| match verdict(commands[row.index], row)? {
                Verdict::Accepted { position, .. } => Some((position, commands[row.index], row)),
                _ => None,
            })
            .collect();
        written.sort_unstable_by_key(|(position, ..)| *position);
        self.recent
            .push(written.iter().flat_map(|(position, command, row)| {
                Recorded::committed(command, *position, row.recorded_at)
            }));
        for (_, command, _) in written.iter().filter(|(_, command, _)| command.closes) {
            self.recent.scrub(command.stream);
        }
    }

    /// Keeps the new state of an accepted command, and drops what a lost one relied on.
    fn remember(&self, command: &Prepared, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted { position, .. } => {
                self.cache.put(command.stream, command.cached());
                self.head.send_if_modified(|head| raise(head, *position));
            }
            Verdict::VersionConflict | Verdict::StaleGuard | Verdict::StreamClosed => {
                self.cache.forget(command.stream);
                command
                    .guards
                    .iter()
                    .for_each(|(guard, _)| self.cache.forget(*guard));
            }
            Verdict::ClaimTaken { .. } | Verdict::Replayed { .. } => {}
        }
    }
}

fn raise(head: &mut i64, position: i64) -> bool {
    let higher = position > *head;
    *head = position.max(*head);
    higher
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn fail_batch(batch: Vec<Interactive>, error: &StoreError) {
    tracing::error!(error = %error, commands = batch.len(), "an append failed");
    for command in batch {
        let answer = match error {
            StoreError::Database(sqlx::Error::Database(_)) => StoreError::Malformed("append"),
            _ => StoreError::Closed,
        };
        drop(command.reply.send(Err(answer)));
    }
}

/// Takes the longest batch from the front in which no stream and no claim key occurs twice; the rest stays in order.
fn take_batch(waiting: &mut VecDeque<Interactive>) -> Vec<Interactive> {
    let mut batch = Vec::new();
    let mut kept = VecDeque::new();
    let mut streams = HashSet::new();
    let mut keys: HashSet<(i32, i16, Vec<u8>)> = HashSet::new();
    let mut bytes = 0;
    while let Some(command) = waiting.pop_front() {
        let prepared = &command.prepared;
        let free = !streams.contains(&prepared.stream)
            && prepared.claims.iter().all(|change| {
                !keys.contains(&(prepared.project_no, change.claim.kind, change.key.clone()))
            });
        // What a deferred command uses is closed for later ones too, so that they keep their order.
        streams.insert(prepared.stream);
        keys.extend(
            prepared
                .claims
                .iter()
                .map(|change| (prepared.project_no, change.claim.kind, change.key.clone())),
        );
        if !free {
            kept.push_back(command);
            continue;
        }
        bytes += prepared.size();
        batch.push(command);
        if batch.len() == BATCH_COMMANDS || bytes >= BATCH_BYTES {
            break;
        }
    }
    kept.append(waiting);
    *waiting = kept;
    batch
}
