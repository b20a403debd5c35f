//! Group commit: one task drains whatever waits into one append call.
//!
//! There is no linger timer: while one batch commits, the next one gathers, so the batch grows with the load. Interactive
//! commands go before bulk chunks, and after each interactive batch one waiting chunk gets its turn.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgArguments;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::append::{Answer, append, arguments};
use crate::bulk::BulkControl;
use crate::link::Link;
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
    /// Encoded by whoever sends it, while the chunk before it commits.
    pub(crate) arguments: PgArguments,
    /// Whether the chunk was written that this one relies on.
    pub(crate) behind: Option<Arc<AtomicBool>>,
    pub(crate) written: Arc<AtomicBool>,
    pub(crate) reply: oneshot::Sender<Result<ChunkVerdict, StoreError>>,
}

pub(crate) struct Sequencer {
    pub(crate) link: Link,
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
                self.write_batch(batch).await;
            }
            if let Some(chunk) = chunks.pop_front() {
                self.write_chunk(chunk).await;
            }
        }
    }

    async fn write_batch(&mut self, batch: Vec<Interactive>) {
        metrics::histogram!("roster_append_batch_commands").record(as_float(batch.len()));
        let (prepared, replies): (Vec<Prepared>, Vec<_>) = batch
            .into_iter()
            .map(|command| (command.prepared, command.reply))
            .unzip();
        let commands: Vec<&Prepared> = prepared.iter().collect();
        let answer = match arguments(false, &commands) {
            Ok(arguments) => self.call(arguments, &commands).await,
            Err(error) => Err(error),
        };
        self.waiting.fetch_sub(prepared.len(), Ordering::Relaxed);
        let outcome = answer.and_then(|answer| {
            let written = answer.written;
            Ok((written, answer.verdicts(&commands)?))
        });
        let (written, verdicts) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return fail_batch(replies, &error),
        };
        for (command, verdict) in prepared.iter().zip(&verdicts) {
            self.remember(command, verdict);
        }
        if let Some((first, at)) = written {
            let accepted = prepared.into_iter().zip(&verdicts);
            let accepted = accepted
                .filter(|(_, verdict)| matches!(verdict, Verdict::Accepted { .. }))
                .map(|(command, _)| command);
            self.publish(accepted, first, at);
        }
        for (reply, verdict) in replies.into_iter().zip(verdicts) {
            // A caller that went away loses nothing: the log has the command.
            drop(reply.send(Ok(verdict)));
        }
    }

    async fn write_chunk(&mut self, chunk: Chunk) {
        let Chunk {
            prepared,
            arguments,
            behind,
            written,
            reply,
        } = chunk;
        if behind.is_some_and(|before| !before.load(Ordering::Relaxed)) {
            drop(reply.send(Ok(ChunkVerdict::Lost(Vec::new()))));
            return;
        }
        let commands: Vec<&Prepared> = prepared.iter().collect();
        let started = Instant::now();
        let answer = self.call(arguments, &commands).await;
        // What bulk work wrote is rarely asked for next; keeping it would push out what is.
        self.cache
            .forget(prepared.iter().map(|command| command.stream));
        let answer = answer.and_then(|answer| {
            let Some((first, at)) = answer.written else {
                for (index, verdict) in &answer.lost {
                    self.remember(&prepared[*index], verdict);
                }
                let mut lost: Vec<_> = answer.lost.into_iter().collect();
                lost.sort_unstable_by_key(|(index, _)| *index);
                return if lost.is_empty() {
                    Err(StoreError::Malformed("verdict of a chunk"))
                } else {
                    Ok(ChunkVerdict::Lost(lost))
                };
            };
            let events: usize = prepared.iter().map(Prepared::len).sum();
            self.control.measured(events, started.elapsed());
            metrics::histogram!("roster_append_chunk_commands").record(as_float(prepared.len()));
            let last_position = first - 1 + i64::try_from(events).unwrap_or_default();
            self.publish(prepared, first, at);
            written.store(true, Ordering::Relaxed);
            Ok(ChunkVerdict::Accepted { last_position })
        });
        drop(reply.send(answer));
    }

    /// One call on the sequencer's own connection; a broken connection is replaced at the next call.
    async fn call(
        &mut self,
        arguments: PgArguments,
        commands: &[&Prepared],
    ) -> Result<Answer, StoreError> {
        let started = Instant::now();
        let answer = append(self.link.get().await?, arguments, commands).await;
        if answer.is_err() {
            self.link.give_up();
        }
        metrics::histogram!("roster_append_seconds").record(started.elapsed().as_secs_f64());
        answer
    }

    /// Hands what was written to this server's own readers, before anyone hears of it.
    fn publish(
        &self,
        accepted: impl IntoIterator<Item = Prepared>,
        first: i64,
        recorded_at: DateTime<Utc>,
    ) {
        let mut closed = HashSet::new();
        let mut next = first;
        self.recent.push(accepted.into_iter().flat_map(|command| {
            if command.closes {
                closed.insert(command.stream);
            }
            let at = next;
            next += command.events_written();
            Recorded::committed(command, at, recorded_at)
        }));
        self.recent.scrub(&closed);
        self.head.send_if_modified(|head| raise(head, next - 1));
    }

    /// Keeps the new state of an accepted command, and drops what a lost one relied on.
    fn remember(&self, command: &Prepared, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted { .. } => self.cache.put(command.stream, command.cached()),
            Verdict::VersionConflict | Verdict::StaleGuard | Verdict::StreamClosed => {
                let guards = command.guards.iter().map(|(guard, _)| *guard);
                self.cache.forget(guards.chain([command.stream]));
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

fn fail_batch(replies: Vec<oneshot::Sender<Result<Verdict, StoreError>>>, error: &StoreError) {
    tracing::error!(error = %error, commands = replies.len(), "an append failed");
    for reply in replies {
        let answer = match error {
            StoreError::Database(sqlx::Error::Database(_)) if !error.is_transient() => {
                StoreError::Malformed("append")
            }
            _ => StoreError::Closed,
        };
        drop(reply.send(Err(answer)));
    }
}

/// Takes the longest batch from the front in which no stream, no claim key and no idempotency key occurs twice, and no stream is
/// guarded behind a command that writes it, for guards are judged before anything is written; the rest stays in order.
fn take_batch(waiting: &mut VecDeque<Interactive>) -> Vec<Interactive> {
    let mut batch = Vec::new();
    let mut kept = VecDeque::new();
    let mut streams = HashSet::new();
    let mut keys: HashSet<(i32, i16, Vec<u8>)> = HashSet::new();
    let mut requests: HashSet<(i32, [u8; 32])> = HashSet::new();
    let mut bytes = 0;
    while let Some(command) = waiting.pop_front() {
        let prepared = &command.prepared;
        let guards = prepared.guards.iter().map(|(guard, _)| guard);
        let free = guards
            .chain([&prepared.stream])
            .all(|stream| !streams.contains(stream))
            && prepared.claims.iter().all(|change| {
                !keys.contains(&(prepared.project_no, change.claim.kind, change.key.clone()))
            })
            && prepared
                .answers
                .iter()
                .all(|answer| !requests.contains(&(prepared.project_no, answer.key)));
        // What a deferred command uses is closed for later ones too, so that they keep their order.
        streams.insert(prepared.stream);
        keys.extend(
            prepared
                .claims
                .iter()
                .map(|change| (prepared.project_no, change.claim.kind, change.key.clone())),
        );
        let answers = prepared.answers.iter();
        requests.extend(answers.map(|answer| (prepared.project_no, answer.key)));
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
