//! One append for customers of pages, the record on the run and the connection's cursor; and who goes because the source says so.

use std::sync::Arc;

use roster_domain::Personal;
use roster_domain::connection::{self, Connection, ConnectionCommand};
use roster_domain::sync_run::{Page, Removals, SyncRun, SyncRunCommand, decide};
use roster_store::{ChunkVerdict, Loaded, Prepared};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::page::Desk;
use super::part::Written;
use super::removal::Removed;
use super::rows::Tag;
use super::seen;
use super::source::Record;
use crate::CommandError;
use crate::import::flow::Lost;
use crate::known::short;

/// The most customers that one append takes away.
pub(super) const MOST_REMOVED: usize = 500;
/// Lost appends of one chunk after which the run is given to its next worker.
pub(super) const LOSSES: usize = 50;

/// How a page was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is written, or kept to be recorded with the next one.
    On,
    /// The run is over, or is to stop.
    Over,
}

/// Writes the pages of one run.
pub(super) struct Writer {
    pub(super) desk: Arc<Desk>,
    tag: Tag,
    /// Pages that changed nothing and are not recorded yet.
    pub(super) carried: Page,
    pub(super) recorded: Instant,
    /// Records of the run so far, with those that are not written yet.
    pub(super) records: u64,
    /// Where the next page was read.
    pub(super) place: Option<Value>,
    /// What of it is written.
    pub(super) written: Option<Written>,
    /// What the run has recorded: where it says otherwise, another worker has it.
    stands: (u32, u64, u64),
    pub(super) is_full: bool,
}

impl Writer {
    /// `place` is where the walk goes on, and `written` what of that page is written.
    pub(super) fn new(desk: &Arc<Desk>, place: Option<Value>, written: Option<Written>) -> Self {
        let run = &desk.run.state;
        Self {
            tag: Tag {
                project_no: desk.project.no,
                provider: desk.connection.settings.provider.clone(),
                connection_id: desk.connection.id_text(),
            },
            carried: Page {
                place: run.place.clone(),
                cursor: Personal::Known(None),
                ..Page::default()
            },
            recorded: Instant::now(),
            records: run.counts.total(),
            place,
            written,
            stands: stands(run),
            is_full: run.is_full,
            desk: Arc::clone(desk),
        }
    }

    /// Takes away whom the source says to be gone, as far as the guard lets. A walk through everything finds out by itself who is
    /// gone, but for those whom it met before that was said.
    pub(super) async fn remove_told(&mut self, deleted: &[Record]) -> Result<Taken, CommandError> {
        let directory = self.desk.directory.clone();
        let Some(syncing) = directory.syncing() else {
            return Ok(Taken::On);
        };
        let head = *directory.cell().head().borrow();
        if !self.is_full && !syncing.rows().reach(head).await {
            return Err(CommandError::Unavailable);
        }
        for some in deleted.chunks(MOST_REMOVED) {
            let mut left: Vec<Uuid> = if self.is_full {
                self.met(some).await?
            } else {
                let ids: Vec<String> = some.iter().map(|record| record.id.clone()).collect();
                let rows = syncing.rows().of_records(&self.tag, &ids).await?;
                rows.into_iter().map(|row| row.stream).collect()
            };
            while !left.is_empty() {
                match self.remove(&left).await? {
                    Some(next) => left = next,
                    None => return Ok(Taken::Over),
                }
            }
        }
        Ok(Taken::On)
    }

    /// Whom the walk met by these records.
    async fn met(&self, records: &[Record]) -> Result<Vec<Uuid>, CommandError> {
        let (desk, connection) = (&self.desk, self.desk.connection.id);
        let keys = records
            .iter()
            .map(|record| desk.project.record_key(connection, &record.id));
        let keys: Vec<i64> = keys.map(short).collect();
        seen::met(desk.directory.cell(), desk.run.stream, connection, &keys).await
    }

    /// Takes these customers away, where the guard lets, and says who waits for the next append; `None` where the run is over.
    async fn remove(&mut self, streams: &[Uuid]) -> Result<Option<Vec<Uuid>>, CommandError> {
        for _ in 0..LOSSES {
            let mut removed = self.desk.remove(streams).await?;
            let left = std::mem::take(&mut removed.left);
            let wanted = removed.removals;
            let run = self.load().await?.into_state();
            let more = wanted.disabled + wanted.deleted;
            let guard_pct = self.desk.connection.settings.delete_guard_pct;
            if run.dry_run || !run.guard_lets(more, guard_pct) {
                self.carried.removals = self.carried.removals.plus(Removals {
                    removed_at_source: wanted.removed_at_source,
                    held_back: if run.dry_run { 0 } else { more },
                    ..Removals::default()
                });
                return Ok(Some(left));
            }
            let before = self.carried.removals;
            self.carried.removals = before.plus(wanted);
            if removed.commands.is_empty() {
                return Ok(Some(left));
            }
            match self.record_removal(removed).await? {
                Recorded::On => return Ok(Some(left)),
                Recorded::Over => return Ok(None),
                Recorded::Lost(_) => self.carried.removals = before,
            }
        }
        Err(CommandError::Unavailable)
    }

    async fn record_removal(&mut self, removed: Removed) -> Result<Recorded, CommandError> {
        let (directory, project) = (self.desk.directory.clone(), Arc::clone(&self.desk.project));
        directory.forget_traces(&project, &removed.traces).await?;
        let recorded = self.record(removed.commands, None).await?;
        if matches!(recorded, Recorded::On) {
            directory.forget_traces(&project, &removed.traces).await?;
            for id in &removed.erased {
                directory.forget_id(&project, id);
            }
        }
        Ok(recorded)
    }

    /// Appends what is carried together with the changes that it made, unless the run ended or is to stop.
    pub(super) async fn record(
        &mut self,
        changes: Vec<Prepared>,
        schema_version: Option<i32>,
    ) -> Result<Recorded, CommandError> {
        let (cell, desk) = (self.desk.directory.cell().clone(), Arc::clone(&self.desk));
        let run = self.load().await?;
        let has_moved = stands(&run.state) != self.stands;
        if run.state.status.is_final() || run.state.cancel_requested || has_moved {
            return Ok(Recorded::Over);
        }
        let at = desk.directory.now();
        let apply = SyncRunCommand::ApplyPage {
            at,
            page: Box::new(self.carried.clone()),
        };
        let events = decide(&run.state, &apply)?;
        let mut own = cell.prepare(&desk.project, &run, events, &desk.meta)?;
        if let Some(version) = schema_version {
            own = own.guard(desk.project.schema_stream, version);
        }
        let mut chunk = Vec::with_capacity(changes.len() + 2);
        chunk.push(own);
        chunk.extend(self.move_cursor(&run).await?);
        chunk.extend(changes);
        cell.wait_for_bulk_turn().await;
        Ok(match cell.append_all(chunk).await? {
            ChunkVerdict::Accepted { .. } => {
                let (walks, pages, records) = self.stands;
                let more = self.carried.counts.total();
                self.stands = (walks, pages + self.carried.pages, records + more);
                self.carried = Page {
                    place: self.carried.place.clone(),
                    cursor: Personal::Known(None),
                    ..Page::default()
                };
                self.recorded = Instant::now();
                Recorded::On
            }
            ChunkVerdict::Lost(lost) => Recorded::Lost(Lost::of(lost)),
        })
    }

    /// The connection's new cursor. A walk through everything has one only at its clean end: before, it has not seen what a
    /// later page holds.
    async fn move_cursor(&self, run: &Loaded<SyncRun>) -> Result<Option<Prepared>, CommandError> {
        let desk = &self.desk;
        let known = |cursor: &Personal<Option<String>>| cursor.known().cloned().flatten();
        let cursor = known(&self.carried.cursor).or_else(|| known(&run.state.cursor_after));
        let is_time = !self.is_full || self.carried.ends_walk;
        let Some(cursor) = cursor.filter(|_| is_time && !run.state.dry_run) else {
            return Ok(None);
        };
        let cell = desk.directory.cell();
        let connection = cell
            .load::<Connection>(&desk.project, desk.connection.id)
            .await?;
        let has = known(&connection.state.cursor);
        if has.is_some_and(|has| is_behind(&cursor, &has)) || !is_same(&connection.state, desk) {
            return Ok(None);
        }
        let at = desk.directory.now();
        let events = connection::decide(
            &connection.state,
            &ConnectionCommand::MoveCursor { at, cursor },
        )?;
        if events.is_empty() {
            return Ok(None);
        }
        Ok(Some(cell.prepare(
            &desk.project,
            &connection,
            events,
            &desk.meta,
        )?))
    }

    pub(super) async fn load(&self) -> Result<Loaded<SyncRun>, CommandError> {
        let cell = self.desk.directory.cell();
        let id = self.desk.run.stream;
        Ok(cell.load::<SyncRun>(&self.desk.project, id).await?)
    }
}

/// Walk, pages and records of a run.
const fn stands(run: &SyncRun) -> (u32, u64, u64) {
    (run.walks, run.pages, run.counts.total())
}

/// What became of a record.
pub(super) enum Recorded {
    On,
    Over,
    Lost(Lost),
}

/// Whether the connection still reads in the way that the run began with: a cursor of another way is of no use.
fn is_same(connection: &Connection, desk: &Desk) -> bool {
    let setup = |connection: &Connection| {
        let setup = connection.settings.setup.known();
        setup.map(|setup| (setup.config.clone(), setup.mapping.clone()))
    };
    connection.is_there() && setup(connection) == setup(&desk.connection)
}

/// Whether a cursor is before another one, where both are numbers or times: it never goes backwards.
fn is_behind(next: &str, has: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    match (parse(next), parse(has)) {
        (Value::Number(next), Value::Number(has)) => {
            matches!((next.as_f64(), has.as_f64()), (Some(next), Some(has)) if next < has)
        }
        (Value::String(next), Value::String(has)) => {
            let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
            matches!((time(&next), time(&has)), (Some(next), Some(has)) if next < has)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_behind;

    #[test]
    fn numbers_and_times_never_go_backwards_and_tokens_are_not_compared() {
        for (next, has, expected) in [
            ("5", "6", true),
            ("6", "5", false),
            (
                "\"2026-01-01T00:00:00Z\"",
                "\"2026-01-01T00:00:00.5Z\"",
                true,
            ),
            (
                "\"2026-01-02T00:00:00Z\"",
                "\"2026-01-01T00:00:00Z\"",
                false,
            ),
            ("\"abc\"", "\"abd\"", false),
            ("{\"a\":1}", "{\"a\":2}", false),
        ] {
            assert_eq!(is_behind(next, has), expected, "{next} {has}");
        }
    }
}
