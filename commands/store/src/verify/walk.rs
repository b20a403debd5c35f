//! The walk over events and batches in the order of positions: contiguity, digests, the chain, and the head of each stream.
//!
//! Three things run at once: reading on this task, hashing of blocks in the blocking pool, and the walk itself on one thread.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::anchored::Anchored;
use super::digests::{self, Event};
use super::report::Findings;
use crate::StoreError;
use crate::copied::{self, fixed, rows};
use crate::kinds::Kind;

/// Blocks that wait for the walk.
const WAITING: usize = 4;

const BATCHES: &str =
    "SELECT last_position, first_position, digest FROM log_batches ORDER BY last_position";

/// What the events of a stream say of its head.
pub(super) struct Head {
    pub(super) version: i32,
    pub(super) last_position: i64,
    pub(super) project_no: i32,
    pub(super) last_type: (i16, i16),
    pub(super) is_closed: bool,
    /// Whether the stream has a row of its own.
    pub(super) is_seen: AtomicBool,
}

/// What the walk leaves.
pub(super) struct Walked {
    pub(super) events: i64,
    pub(super) batches: i64,
    pub(super) head: i64,
    pub(super) streams: HashMap<Uuid, Head>,
    pub(super) types: HashSet<(i16, i16)>,
    pub(super) anchors: Anchored,
    pub(super) findings: Findings,
}

struct Batch {
    first: i64,
    last: i64,
    digest: Vec<u8>,
}

/// Walks the whole log; `progress` gets the position.
pub(super) async fn walk(
    events: &mut PgConnection,
    batches: &mut PgConnection,
    anchors: Anchored,
    mut progress: impl FnMut(i64),
) -> Result<Walked, StoreError> {
    let (blocks, blocks_out) = mpsc::channel(WAITING);
    let (links, links_out) = mpsc::channel(WAITING);
    let reached = Arc::new(AtomicI64::new(0));
    let walker = Walker::new(links_out, anchors, Arc::clone(&reached));
    let walking = spawn_blocking(move || walker.run(blocks_out));

    let read_events = async move {
        let mut read = std::pin::pin!(copied::read(events, digests::SELECT).await?);
        while let Some(block) = read.try_next().await? {
            let hashing = spawn_blocking(move || digests::read(&block));
            // A walk that ended says why itself.
            if blocks.send(hashing).await.is_err() {
                break;
            }
            progress(reached.load(Ordering::Relaxed));
        }
        Ok::<_, StoreError>(())
    };
    let read_batches = async move {
        let mut read = std::pin::pin!(copied::read(batches, BATCHES).await?);
        while let Some(block) = read.try_next().await? {
            if links.send(batches_of(&block)?).await.is_err() {
                break;
            }
        }
        Ok::<_, StoreError>(())
    };
    let (events_read, batches_read) = tokio::join!(read_events, read_batches);
    let walked = walking.await.map_err(|_| StoreError::Closed)?;
    events_read?;
    batches_read?;
    walked
}

fn batches_of(block: &[u8]) -> Result<Vec<Batch>, StoreError> {
    let mut batches = Vec::new();
    rows::<3>(block, |[last, first, digest]| {
        batches.push(Batch {
            first: i64::from_be_bytes(fixed(first)?),
            last: i64::from_be_bytes(fixed(last)?),
            digest: digest.unwrap_or_default().to_vec(),
        });
        Ok(())
    })?;
    Ok(batches)
}

struct Walker {
    links: mpsc::Receiver<Vec<Batch>>,
    read: std::vec::IntoIter<Batch>,
    reached: Arc<AtomicI64>,
    closing: Vec<(i16, i16)>,
    /// The batch that the next event should be in.
    batch: Option<Batch>,
    /// Its event digests so far, after the digest that leads it as that is stored.
    by_stored: Sha256,
    /// The same after that digest as it should be, where it is another.
    by_rebuilt: Option<Sha256>,
    /// Whether every event of the batch was there so far.
    is_whole: bool,
    /// The digest of the batch before, as it is stored and as it should be.
    before: [Vec<u8>; 2],
    last_of_before: i64,
    next: i64,
    walked: Walked,
}

impl Walker {
    fn new(links: mpsc::Receiver<Vec<Batch>>, anchors: Anchored, reached: Arc<AtomicI64>) -> Self {
        Self {
            links,
            read: Vec::new().into_iter(),
            reached,
            closing: Kind::all_closing(),
            batch: None,
            by_stored: Sha256::new(),
            by_rebuilt: None,
            is_whole: true,
            before: [Vec::new(), Vec::new()],
            last_of_before: 0,
            next: 1,
            walked: Walked {
                events: 0,
                batches: 0,
                head: 0,
                streams: HashMap::new(),
                types: HashSet::new(),
                anchors,
                findings: Findings::default(),
            },
        }
    }

    fn run(
        mut self,
        mut blocks: mpsc::Receiver<JoinHandle<Result<Vec<Event>, StoreError>>>,
    ) -> Result<Walked, StoreError> {
        let runtime = Handle::current();
        self.next_batch();
        while let Some(hashing) = blocks.blocking_recv() {
            let events = runtime
                .block_on(hashing)
                .map_err(|_| StoreError::Closed)??;
            for event in &events {
                self.event(event);
            }
            self.reached.store(self.next - 1, Ordering::Relaxed);
        }
        self.missing_tail();
        if self.next - 1 > self.last_of_before {
            let (first, last) = (self.last_of_before + 1, self.next - 1);
            self.walked.findings.at(
                first,
                format!("events {first} to {last} are in no batch of the chain"),
            );
        }
        self.walked.head = self.last_of_before;
        Ok(self.walked)
    }

    fn event(&mut self, event: &Event) {
        if event.position < self.next {
            self.walked
                .findings
                .at(event.position, "the position is given twice, or is under 1");
        }
        self.missing(event.position);
        self.next = self.next.max(event.position + 1);
        self.walked.events += 1;
        self.walked
            .types
            .insert((event.type_no, event.type_version));
        if !event.is_sound {
            self.walked
                .findings
                .at(event.position, "the event differs from its digest");
        }
        self.by_stored.update(event.digest);
        if let Some(hash) = &mut self.by_rebuilt {
            hash.update(event.digest);
        }
        self.head(event);
        while self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.last <= event.position)
        {
            self.end_batch();
        }
    }

    /// Says that the positions before one are not there, and passes the batches that lie among them.
    fn missing(&mut self, position: i64) {
        if position <= self.next {
            return;
        }
        self.tell_missing(self.next, position - 1);
        self.is_whole = false;
        self.next = position;
        while self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.last < position)
        {
            self.end_batch();
            self.is_whole = self
                .batch
                .as_ref()
                .is_some_and(|batch| batch.first == position);
        }
    }

    /// Passes the batches after the last event.
    fn missing_tail(&mut self) {
        let first = self.next;
        while let Some(last) = self.batch.as_ref().map(|batch| batch.last) {
            self.is_whole &= last < self.next;
            self.next = self.next.max(last + 1);
            self.end_batch();
        }
        if self.next > first {
            self.tell_missing(first, self.next - 1);
        }
    }

    fn tell_missing(&mut self, first: i64, last: i64) {
        let message = if first == last {
            "the event is missing".to_owned()
        } else {
            format!("the events {first} to {last} are missing")
        };
        self.walked.findings.at(first, message);
    }

    fn end_batch(&mut self) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let by_stored = std::mem::take(&mut self.by_stored).finalize();
        let by_rebuilt = self.by_rebuilt.take().map_or(by_stored, Sha256::finalize);
        let mut rebuilt = batch.digest.clone();
        if batch.first != self.last_of_before + 1 {
            self.walked.findings.at(
                batch.first,
                format!(
                    "the batch {} to {} does not follow the one before it, which ends at {}",
                    batch.first, batch.last, self.last_of_before
                ),
            );
        } else if self.is_whole {
            let is_linked =
                [by_stored.as_slice(), by_rebuilt.as_slice()].contains(&batch.digest.as_slice());
            if !is_linked {
                self.walked.findings.at(
                    batch.last,
                    format!(
                        "the batch {} to {} differs from its digest in the chain",
                        batch.first, batch.last
                    ),
                );
                rebuilt = by_rebuilt.to_vec();
            }
        }
        self.walked.batches += 1;
        self.walked
            .anchors
            .batch(batch.last, &batch.digest, &mut self.walked.findings);
        self.last_of_before = batch.last;
        self.before = [batch.digest, rebuilt];
        self.next_batch();
    }

    fn next_batch(&mut self) {
        self.batch = self.read.next().or_else(|| {
            self.read = self.links.blocking_recv()?.into_iter();
            self.read.next()
        });
        let [stored, rebuilt] = &self.before;
        let led_by = |digest: &[u8]| Sha256::new().chain_update(digest);
        self.by_stored = led_by(stored);
        self.by_rebuilt = (rebuilt != stored).then(|| led_by(rebuilt));
        self.is_whole = true;
    }

    fn head(&mut self, event: &Event) {
        let is_closed = self.closing.contains(&(event.type_no, event.type_version));
        let findings = &mut self.walked.findings;
        let head = self
            .walked
            .streams
            .entry(event.stream)
            .or_insert_with(|| Head {
                version: 0,
                last_position: 0,
                project_no: event.project_no,
                last_type: (0, 0),
                is_closed: false,
                is_seen: AtomicBool::new(false),
            });
        let mut wrong = |message: String| {
            findings.add(Some(event.position), Some(event.stream), message);
        };
        if event.version != head.version + 1 {
            wrong(format!(
                "version {} of the stream follows version {}",
                event.version, head.version
            ));
        }
        if head.is_closed {
            wrong("the stream goes on after its end".into());
        }
        if head.project_no != event.project_no {
            wrong(format!(
                "the event is of project {}, its stream of project {}",
                event.project_no, head.project_no
            ));
        }
        head.version = event.version;
        head.last_position = event.position;
        head.last_type = (event.type_no, event.type_version);
        head.is_closed |= is_closed;
    }
}
