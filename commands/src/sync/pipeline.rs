//! What is gathered, piece by piece into the log: while one piece is written, the next one is decided, and whom the one behind
//! that names is looked up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roster_domain::Personal;
use roster_domain::stream::Claim;
use roster_store::Prepared;
use serde_json::Value;
use uuid::Uuid;

use super::gather::Gathering;
use super::page::{Desk, Looked, Worked};
use super::part::{self, Piece};
use super::source::Record;
use super::writer::{LOSSES, Recorded, Taken, Writer};
use crate::CommandError;

/// The most records of one append: 5,000 commands, less those of the run, the connection and a schema.
const MOST: usize = 4_900;
/// Records without a change after which they are recorded all the same.
const QUIET_RECORDS: u64 = 20_000;
/// Time after which they are.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Findings after which they are.
const MANY_ISSUES: usize = 500;

/// A piece whose people are looked up.
struct Found {
    piece: Piece,
    looked: Looked,
    /// How many records of the run came before.
    before: u64,
}

impl Found {
    async fn look(
        desk: &Arc<Desk>,
        piece: Option<Piece>,
        before: u64,
    ) -> Result<Option<Self>, CommandError> {
        let Some(piece) = piece else {
            return Ok(None);
        };
        let looked = desk.look(&piece.records).await?;
        Ok(Some(Self {
            piece,
            looked,
            before,
        }))
    }
}

/// A piece that is decided and not yet written.
struct Ready {
    piece: Piece,
    worked: Worked,
    /// How many records of the run came before.
    before: u64,
}

impl Ready {
    async fn decide(desk: &Arc<Desk>, found: Option<Found>) -> Result<Option<Self>, CommandError> {
        let Some(Found {
            piece,
            looked,
            before,
        }) = found
        else {
            return Ok(None);
        };
        let records = Arc::clone(&piece.records);
        let worked = desk.decide(records, looked, before, HashMap::new()).await?;
        Ok(Some(Self {
            piece,
            worked,
            before,
        }))
    }

    async fn decide_again(&mut self, desk: &Arc<Desk>) -> Result<(), CommandError> {
        let records = Arc::clone(&self.piece.records);
        let marked = self.worked.marked;
        let again = desk.work_again(&self.worked, records, self.before, HashMap::new());
        self.worked = again.await?;
        self.worked.marked += marked;
        Ok(())
    }

    /// The customers whom it changes.
    fn changes(&self) -> HashSet<Uuid> {
        self.worked.commands.iter().map(Prepared::stream).collect()
    }

    /// Whether it was decided by the states of some of these customers.
    fn rests_on(&self, changed: &HashSet<Uuid>) -> bool {
        self.worked
            .known
            .iter()
            .any(|stream| changed.contains(stream))
    }
}

/// Records without those that are told otherwise later in the same page: gone and there again, or the other way round.
fn last_words(records: Vec<Record>) -> impl Iterator<Item = Record> {
    let said = records
        .iter()
        .map(|record| (record.id.clone(), record.deleted));
    let last: HashMap<String, bool> = said.collect();
    records
        .into_iter()
        .filter(move |record| last.get(&record.id) == Some(&record.deleted))
}

/// Pieces on their way into the log.
#[derive(Default)]
struct Moving {
    ready: Option<Ready>,
    found: Option<Found>,
    /// The customers whom the piece changed that was written while `found` was looked up.
    changed: HashSet<Uuid>,
}

impl Moving {
    const fn is_empty(&self) -> bool {
        self.ready.is_none() && self.found.is_none()
    }
}

impl Writer {
    /// The most records of the next append: fewer while others wait for the log.
    fn most(&self) -> usize {
        let room = self.desk.directory.cell().bulk_room().commands;
        room.saturating_sub(100).clamp(1, MOST)
    }

    /// Writes what is gathered, until there will be no more.
    pub(super) async fn write(&mut self, gathering: &Gathering) -> Result<Taken, CommandError> {
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        let mut moving = Moving::default();
        loop {
            if pieces.is_empty() {
                let batch = if moving.is_empty() {
                    match gathering.next(self.most()).await {
                        Some(batch) => Some(batch),
                        None => return self.flush().await,
                    }
                } else {
                    gathering.due(self.most())
                };
                if let Some(mut batch) = batch {
                    if batch.records.iter().any(|record| record.deleted) {
                        while !moving.is_empty() {
                            if self.step(&mut moving, None).await? == Taken::Over {
                                return Ok(Taken::Over);
                            }
                        }
                        let (deleted, live): (Vec<Record>, Vec<Record>) =
                            last_words(batch.records).partition(|record| record.deleted);
                        batch.records = live;
                        if self.remove_told(&deleted).await? == Taken::Over {
                            return Ok(Taken::Over);
                        }
                    }
                    let at = std::mem::replace(&mut self.place, batch.place.clone());
                    let written = self.written.take();
                    pieces = part::pieces(batch, at.as_ref(), written.as_ref(), self.most());
                }
            }
            let piece = pieces.pop_front();
            if self.step(&mut moving, piece).await? == Taken::Over {
                return Ok(Taken::Over);
            }
        }
    }

    /// Moves every piece on by one: the first is written, the second decided, and the people of a new one are looked up.
    async fn step(
        &mut self,
        moving: &mut Moving,
        piece: Option<Piece>,
    ) -> Result<Taken, CommandError> {
        let before = self.records;
        self.records += piece.as_ref().map_or(0, |piece| piece.records.len() as u64);
        let desk = Arc::clone(&self.desk);
        let changes = moving.ready.as_ref().map(Ready::changes);
        let (taken, decided, found) = tokio::join!(
            self.commit(moving.ready.take()),
            Ready::decide(&desk, moving.found.take()),
            Found::look(&desk, piece, before)
        );
        if taken? == Taken::Over {
            return Ok(Taken::Over);
        }
        (moving.ready, moving.found) = (decided?, found?);
        let earlier = std::mem::replace(&mut moving.changed, changes.unwrap_or_default());
        // Somebody was decided on as they were two appends ago: where that came to nothing, no append would tell.
        let is_old =
            |ready: &&mut Ready| ready.rests_on(&earlier) || ready.rests_on(&moving.changed);
        if let Some(ready) = moving.ready.as_mut().filter(is_old) {
            ready.decide_again(&desk).await?;
        }
        Ok(Taken::On)
    }

    /// Records what is kept: the walk ends, or stops on its way.
    async fn flush(&mut self) -> Result<Taken, CommandError> {
        for _ in 0..LOSSES {
            if self.carried.pages == 0 && self.carried.counts.total() == 0 {
                return Ok(Taken::On);
            }
            match self.record(Vec::new(), None).await? {
                Recorded::On => return Ok(Taken::On),
                Recorded::Over => return Ok(Taken::Over),
                Recorded::Lost(_) => {}
            }
        }
        Err(CommandError::Unavailable)
    }

    /// Appends a piece with its record, or keeps it to be recorded with the next one. What is lost is decided again.
    async fn commit(&mut self, ready: Option<Ready>) -> Result<Taken, CommandError> {
        let Some(Ready {
            piece,
            mut worked,
            before,
        }) = ready
        else {
            return Ok(Taken::On);
        };
        self.carried.pages += piece.pages;
        self.carried.ends_walk = piece.ends_walk;
        self.carried.place = Personal::Known(piece.place.as_ref().map(Value::to_string));
        if let Some(cursor) = &piece.cursor {
            self.carried.cursor = Personal::Known(Some(cursor.to_string()));
        }
        let mut taken: HashMap<Claim, Uuid> = HashMap::new();
        let carried = self.carried.clone();
        let mut marked = 0;
        for _ in 0..LOSSES {
            let mut commands = std::mem::take(&mut worked.commands);
            marked += worked.marked;
            self.carried = carried.clone();
            self.carried.counts = self.carried.counts.plus(worked.counts);
            self.carried.warnings += worked.warnings;
            self.carried.issues.append(&mut worked.issues);
            self.carried.marked += marked;
            commands.extend(worked.void.take());
            let is_due = self.carried.ends_walk
                || self.carried.counts.total() >= QUIET_RECORDS
                || self.carried.issues.len() >= MANY_ISSUES
                || self.recorded.elapsed() >= QUIET_TIME;
            if commands.is_empty() && !(is_due && piece.is_whole()) {
                return Ok(Taken::On);
            }
            let guard = (!commands.is_empty()).then_some(worked.schema_version);
            match self.record(commands, guard).await? {
                Recorded::On => return Ok(Taken::On),
                Recorded::Over => return Ok(Taken::Over),
                Recorded::Lost(lost) => {
                    let desk = &self.desk;
                    if !lost.values.is_empty() {
                        desk.looks_up_values.store(true, Ordering::Relaxed);
                        taken.extend(lost.values);
                    }
                    let records = Arc::clone(&piece.records);
                    let again = desk.work_again(&worked, records, before, taken.clone());
                    worked = again.await?;
                }
            }
        }
        Err(CommandError::Unavailable)
    }
}
