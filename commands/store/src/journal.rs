//! The journal: what agents were dispatched for whom. Many rows, each for a limited time, outside the ordered log.
//!
//! One task per cell and server drains whatever waits into one statement, as the sequencer does for the log. A dispatch that
//! waits for its commit is never lost; one that does not wait ([`Cell::journal_later`]) is in memory until then, and at most
//! [`LOSS_BOUND`] of them are.

mod read;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use roster_domain::access::ConnectorIdentity;
use sqlx::{PgConnection, PgPool, Row};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::link::Link;
use crate::vault::DataKey;
use crate::{Cell, Project, StoreError};

pub use read::{JournalFilter, JournalPage, JournalPlace, JournalRow, SealedRecord};

/// The most rows of one statement.
const BATCH: usize = 256;
/// Dispatches that wait outside the task.
const QUEUE: usize = 1_024;
/// Dispatches that a crash can take, of those that did not wait: the queue, and what the task holds of it.
pub const LOSS_BOUND: usize = QUEUE + 2 * BATCH;
/// Days beyond today that have a partition.
const DAYS_AHEAD: i32 = 3;
/// How long rows wait that nobody waits for, while the database refuses them.
const PAUSE: Duration = Duration::from_millis(250);
/// SQLSTATE of a row that no partition takes.
const NO_PARTITION: &str = "23514";

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The project.
    pub project_no: i32,
    /// The customer it was for, if one was found.
    pub customer_ref: Option<Uuid>,
    /// Whether the agent may be called.
    pub allowed: bool,
    /// [`Project::run_key`].
    pub run_key: Vec<u8>,
    /// [`Project::identity_key`].
    pub identity_key: Vec<u8>,
    /// The channel.
    pub channel: String,
    /// What the agent was to call.
    pub endpoint: String,
    /// The agent.
    pub agent_alias: String,
    /// Why, in the words of the API.
    pub reason: &'static str,
    /// How far the match is vouched for, in the words of the API.
    pub trust: &'static str,
    /// The personal part.
    pub sealed: Vec<u8>,
}

/// What stands in the journal under a run key.
#[derive(Clone, Debug)]
pub enum Journaled {
    /// This dispatch, now.
    Written,
    /// An earlier one.
    Earlier(Earlier),
}

/// A dispatch that was written before under the same run key.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// The customer it was for.
    pub customer_ref: Option<Uuid>,
    /// The identity it was for.
    pub identity_key: Vec<u8>,
    /// Whether the agent may be called.
    pub allowed: bool,
    /// Why, in the words of the API.
    pub reason: String,
    /// How far the match is vouched for, in the words of the API.
    pub trust: String,
    /// The personal part, until it is erased.
    pub sealed: Option<Vec<u8>>,
}

/// What is authenticated with the personal part of a dispatch.
pub fn part(run_key: &[u8]) -> String {
    format!("dispatch {}", crate::vault::to_hex(run_key))
}

impl Project {
    /// The keyed hash of an identity: the same as that of the claim on it.
    pub fn identity_key(&self, identity: &ConnectorIdentity) -> Vec<u8> {
        self.claim_key(&identity.claim())
    }

    /// The keyed hash of one agent's one call of one endpoint in one run.
    pub fn run_key(&self, run_id: &str, agent_alias: &str, endpoint: &str) -> Vec<u8> {
        let sized = |text: &str| (text.len() as u64).to_be_bytes();
        self.hash(&[
            b"run\0",
            &sized(run_id),
            run_id.as_bytes(),
            &sized(agent_alias),
            agent_alias.as_bytes(),
            endpoint.as_bytes(),
        ])[..16]
            .to_vec()
    }

    /// What seals things about an identity that is nobody's. It follows from the pepper and is kept nowhere: what it sealed is
    /// erased by deleting the sealed bytes.
    pub fn key_of_identity(&self, identity_key: &[u8]) -> DataKey {
        DataKey::new(self.hash(&[b"identity\0", identity_key]))
    }
}

pub(crate) struct Waiting {
    dispatch: Dispatch,
    /// `None` where nobody waits.
    reply: Option<oneshot::Sender<Result<Journaled, StoreError>>>,
}

/// The task that writes.
pub(crate) struct Writer {
    link: Link,
    queue: mpsc::Receiver<Waiting>,
    stop: CancellationToken,
}

impl Writer {
    /// The task, and the way to it.
    pub(crate) fn new(pool: PgPool, stop: CancellationToken) -> (Self, mpsc::Sender<Waiting>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let link = Link::new(pool);
        (Self { link, queue, stop }, sender)
    }

    /// Writes until every sender is gone or the server stops; what was taken until then is written.
    pub(crate) async fn run(mut self) {
        let mut held: VecDeque<Waiting> = VecDeque::new();
        loop {
            if held.is_empty() {
                let next = tokio::select! {
                    biased;
                    () = self.stop.cancelled(), if !self.queue.is_closed() => {
                        self.queue.close();
                        continue;
                    }
                    next = self.queue.recv() => next,
                };
                match next {
                    Some(next) => held.push_back(next),
                    None => return,
                }
            }
            while held.len() < BATCH
                && let Ok(next) = self.queue.try_recv()
            {
                held.push_back(next);
            }
            let batch = take_batch(&mut held);
            let left = self.write(batch).await;
            if !left.is_empty() {
                for waiting in left.into_iter().rev() {
                    held.push_front(waiting);
                }
                if self
                    .stop
                    .run_until_cancelled(tokio::time::sleep(PAUSE))
                    .await
                    .is_none()
                {
                    tracing::error!(
                        lost = held.len(),
                        "dispatches that nobody waited for were not written"
                    );
                    return;
                }
            }
        }
    }

    /// Writes a batch and answers those who wait; gives back what was not written and nobody waits for.
    async fn write(&mut self, batch: Vec<Waiting>) -> Vec<Waiting> {
        let started = Instant::now();
        metrics::histogram!("roster_journal_batch_dispatches")
            .record(u32::try_from(batch.len()).map_or(f64::MAX, f64::from));
        let written = self.call(&batch).await;
        metrics::histogram!("roster_journal_seconds").record(started.elapsed().as_secs_f64());
        let mut earlier = match written {
            Ok(earlier) => earlier,
            Err(error) => {
                tracing::error!(%error, dispatches = batch.len(), "a write of the journal failed");
                let mut left = Vec::new();
                for mut waiting in batch {
                    match waiting.reply.take() {
                        // A caller that went away asks again, or does not care.
                        Some(reply) => drop(reply.send(Err(StoreError::Closed))),
                        None => left.push(waiting),
                    }
                }
                return left;
            }
        };
        // Backwards, as the places of earlier ones are taken from the end.
        for (place, waiting) in batch.into_iter().enumerate().rev() {
            let found = earlier.pop_if(|(known, _)| *known == place);
            let journaled = found.map_or(Journaled::Written, |(_, row)| Journaled::Earlier(row));
            if let Some(reply) = waiting.reply {
                drop(reply.send(Ok(journaled)));
            }
        }
        Vec::new()
    }

    /// One call; a missing partition is made. What stood there before comes back by its place, in order.
    async fn call(&mut self, batch: &[Waiting]) -> Result<Vec<(usize, Earlier)>, StoreError> {
        let link = self.link.get().await?;
        let mut written = append(link, batch).await;
        if let Err(error) = &written
            && is_without_partition(error)
        {
            prepare(link).await?;
            written = append(link, batch).await;
        }
        if written.is_err() {
            self.link.give_up();
        }
        Ok(written?)
    }
}

/// Takes the longest batch from the front in which no run key occurs twice; the rest stays in order.
fn take_batch(held: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut keys: HashSet<(i32, Vec<u8>)> = HashSet::with_capacity(held.len());
    let (mut batch, mut later) = (Vec::with_capacity(held.len()), VecDeque::new());
    for waiting in held.drain(..) {
        let dispatch = &waiting.dispatch;
        if keys.insert((dispatch.project_no, dispatch.run_key.clone())) {
            batch.push(waiting);
        } else {
            later.push_back(waiting);
        }
    }
    *held = later;
    batch
}

async fn append(
    link: &mut PgConnection,
    batch: &[Waiting],
) -> Result<Vec<(usize, Earlier)>, sqlx::Error> {
    let each = || batch.iter().map(|waiting| &waiting.dispatch);
    let rows = sqlx::query(
        "SELECT * FROM log_journal_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(each().map(|one| one.project_no).collect::<Vec<_>>())
    .bind(each().map(|one| one.customer_ref).collect::<Vec<_>>())
    .bind(each().map(|one| one.allowed).collect::<Vec<_>>())
    .bind(each().map(|one| one.run_key.as_slice()).collect::<Vec<_>>())
    .bind(
        each()
            .map(|one| one.identity_key.as_slice())
            .collect::<Vec<_>>(),
    )
    .bind(each().map(|one| one.channel.as_str()).collect::<Vec<_>>())
    .bind(each().map(|one| one.endpoint.as_str()).collect::<Vec<_>>())
    .bind(
        each()
            .map(|one| one.agent_alias.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(each().map(|one| one.reason).collect::<Vec<_>>())
    .bind(each().map(|one| one.trust).collect::<Vec<_>>())
    .bind(each().map(|one| one.sealed.as_slice()).collect::<Vec<_>>())
    .fetch_all(&mut *link)
    .await?;
    let mut earlier = Vec::with_capacity(rows.len());
    for row in rows {
        let place: i32 = row.try_get("place")?;
        let found = Earlier {
            customer_ref: row.try_get("customer_ref")?,
            identity_key: row.try_get("identity_key")?,
            allowed: row.try_get("allowed")?,
            reason: row.try_get("reason")?,
            trust: row.try_get("trust")?,
            sealed: row.try_get("sealed")?,
        };
        earlier.push((usize::try_from(place - 1).unwrap_or_default(), found));
    }
    earlier.sort_unstable_by_key(|(place, _)| *place);
    Ok(earlier)
}

fn is_without_partition(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == NO_PARTITION)
}

async fn prepare(link: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT log_journal_prepare($1)")
        .bind(DAYS_AHEAD)
        .fetch_one(&mut *link)
        .await
}

impl Cell {
    /// Writes a dispatch, and returns once it is committed. One that was written before under the same run key is given back
    /// instead; that is looked for among those of today and of the day before (UTC).
    ///
    /// # Errors
    /// [`StoreError::Closed`]: it is unknown whether it was written, so the same one may be sent again.
    pub async fn journal(&self, dispatch: Dispatch) -> Result<Journaled, StoreError> {
        let (reply, journaled) = oneshot::channel();
        let waiting = Waiting {
            dispatch,
            reply: Some(reply),
        };
        let sent = self.journal_queue().send(waiting).await;
        sent.map_err(|_| StoreError::Closed)?;
        journaled.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands a dispatch over to be written, and returns at once while there is room. A crash takes at most [`LOSS_BOUND`].
    ///
    /// # Errors
    /// [`StoreError::Closed`] where the server stops.
    pub async fn journal_later(&self, dispatch: Dispatch) -> Result<(), StoreError> {
        let waiting = Waiting {
            dispatch,
            reply: None,
        };
        let sent = self.journal_queue().send(waiting).await;
        sent.map_err(|_| StoreError::Closed)
    }

    /// Makes the partitions of the coming days, and drops those whose day ended more than so many days ago; how many went.
    pub async fn keep_journal(&self, days_kept: i32) -> Result<i32, StoreError> {
        let mut link = self.pool().acquire().await?;
        prepare(&mut link).await?;
        Ok(sqlx::query_scalar("SELECT log_journal_drop($1)")
            .bind(days_kept)
            .fetch_one(&mut *link)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{Dispatch, Waiting, take_batch};

    fn waiting(project_no: i32, run: u8) -> Waiting {
        let dispatch = Dispatch {
            project_no,
            customer_ref: None,
            allowed: false,
            run_key: vec![run],
            identity_key: Vec::new(),
            channel: String::new(),
            endpoint: String::new(),
            agent_alias: String::new(),
            reason: "",
            trust: "",
            sealed: Vec::new(),
        };
        Waiting {
            dispatch,
            reply: None,
        }
    }

    #[test]
    fn a_second_one_of_a_run_waits_for_the_next_batch() {
        let mut held: VecDeque<Waiting> = [(1, 1), (1, 2), (1, 1), (2, 1), (1, 1)]
            .into_iter()
            .map(|(project_no, run)| waiting(project_no, run))
            .collect();
        let sizes: Vec<usize> =
            std::iter::from_fn(|| Some(take_batch(&mut held).len()).filter(|size| *size > 0))
                .collect();
        assert_eq!(sizes, [3, 1, 1]);
    }
}
