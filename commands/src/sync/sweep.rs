//! After a walk through everything: whoever has the connection's tag and was not seen is gone at the source.
//!
//! Only after the clean end of a walk from its first page, and only below the guard. Rows propose; the log decides.

use std::sync::Arc;

use roster_domain::connection::DeleteMissing;
use roster_domain::customer::Customer;
use roster_domain::sync_run::{Removals, SyncRun, SyncRunCommand, decide};
use roster_store::{ChunkVerdict, Prepared};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::page::Desk;
use super::removal::Removed;
use super::rows::{Row, Tag};
use super::writer::MOST_REMOVED;
use super::{Syncing, seen};
use crate::CommandError;
use crate::leased::Held;

/// Rows that are looked at together.
const PAGE: u32 = 2_000;

/// The removals after a walk.
pub(super) struct Sweep {
    desk: Arc<Desk>,
    syncing: Syncing,
    tag: Tag,
}

impl Sweep {
    pub(super) fn new(desk: Arc<Desk>, syncing: &Syncing) -> Self {
        let tag = Tag {
            project_no: desk.project.no,
            provider: desk.connection.settings.provider.clone(),
            connection_id: desk.connection.id_text(),
        };
        Self {
            desk,
            syncing: syncing.clone(),
            tag,
        }
    }

    /// Takes away whoever is gone; `false` where the run is to stop before all of them are.
    pub(super) async fn go(
        &mut self,
        held: &mut Held,
        stop: &CancellationToken,
    ) -> Result<bool, CommandError> {
        let cell = self.desk.directory.cell().clone();
        if !self.syncing.rows().reach(cell.head_position().await?).await {
            return Err(CommandError::Unavailable);
        }
        let run = self.load().await?;
        // What the walk saw must all be there still: a restored database has lost it.
        let is_whole = seen::count(&cell, run.id).await? >= run.marked;
        let gone = self.each(held, stop, false).await?;
        let Some(gone) = gone else { return Ok(false) };
        // A run that goes on after its last step may have told this already.
        if run.dry_run {
            let noted = Removals {
                removed_at_source: gone.saturating_sub(run.removals.removed_at_source),
                ..Removals::default()
            };
            return self.record(noted, Vec::new()).await.map(|_| true);
        }
        let guard_pct = self.desk.connection.settings.delete_guard_pct;
        if !is_whole || !run.guard_lets(gone, guard_pct) {
            let held_back = gone.saturating_sub(run.removals.held_back);
            let kept = Removals {
                removed_at_source: held_back,
                held_back,
                ..Removals::default()
            };
            return self.record(kept, Vec::new()).await.map(|_| true);
        }
        Ok(self.each(held, stop, true).await?.is_some())
    }

    /// Counts who is gone, and with `removes` takes them away; `None` where the run is to stop.
    async fn each(
        &self,
        held: &mut Held,
        stop: &CancellationToken,
        removes: bool,
    ) -> Result<Option<u64>, CommandError> {
        let mut count = 0;
        for enabled in [true, false] {
            let mut after = String::new();
            loop {
                if stop.is_cancelled() || !held.keep(self.desk.directory.cell()).await? {
                    return Ok(None);
                }
                let rows = self.syncing.rows();
                let page = rows.page(&self.tag, enabled, &after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after.clone_from(&last.customer_user_id);
                let gone = self.gone(&page).await?;
                let gone = if enabled {
                    gone
                } else {
                    self.deletable(gone).await?
                };
                count += gone.len() as u64;
                if removes && !self.remove_all(gone).await? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(count))
    }

    /// Those of some rows that the walk did not see, neither as a customer nor as a record that failed.
    async fn gone(&self, rows: &[Row]) -> Result<Vec<Uuid>, CommandError> {
        let (cell, run_id) = (self.desk.directory.cell(), self.desk.run.stream);
        let connection = self.desk.connection.id;
        let record = |row: &Row| {
            let id = row.external_id.as_deref()?;
            Some(self.desk.project.record_key(connection, id))
        };
        let streams: Vec<Uuid> = rows.iter().map(|row| row.stream).collect();
        let records: Vec<Uuid> = rows.iter().filter_map(record).collect();
        let found = seen::found(cell, run_id, connection, &streams).await?;
        let failed = seen::failed(cell, run_id, &records).await?;
        let is_seen = |row: &&Row| {
            found.contains_key(&row.stream) || record(row).is_some_and(|key| failed.contains(&key))
        };
        Ok(rows
            .iter()
            .filter(|row| !is_seen(row))
            .map(|row| row.stream)
            .collect())
    }

    /// Of customers who are off: those whom a run may delete. The others have nothing left to lose.
    async fn deletable(&self, streams: Vec<Uuid>) -> Result<Vec<Uuid>, CommandError> {
        if self.desk.connection.settings.delete_missing != DeleteMissing::Delete {
            return Ok(Vec::new());
        }
        let cell = self.desk.directory.cell();
        let customers = cell.load_many::<Customer>(&self.desk.project, &streams);
        let customers = customers.await?.into_iter();
        Ok(customers
            .filter(|customer| !customer.state.is_adopted)
            .map(|customer| customer.stream)
            .collect())
    }

    async fn remove_all(&self, gone: Vec<Uuid>) -> Result<bool, CommandError> {
        for some in gone.chunks(MOST_REMOVED) {
            let mut left = some.to_vec();
            while !left.is_empty() {
                let mut removed = self.desk.remove(&left).await?;
                let next = std::mem::take(&mut removed.left);
                match self.remove(removed).await? {
                    Written::On => left = next,
                    Written::Over => return Ok(false),
                    // Decided again on the present states.
                    Written::Lost => {}
                }
            }
        }
        Ok(true)
    }

    async fn remove(&self, removed: Removed) -> Result<Written, CommandError> {
        let (directory, project) = (&self.desk.directory, &self.desk.project);
        directory.forget_traces(project, &removed.traces).await?;
        let written = self.record(removed.removals, removed.commands).await?;
        if written == Written::On {
            directory.forget_traces(project, &removed.traces).await?;
            for id in &removed.erased {
                directory.forget_id(project, id);
            }
        }
        Ok(written)
    }

    async fn record(
        &self,
        removals: Removals,
        changes: Vec<Prepared>,
    ) -> Result<Written, CommandError> {
        let (desk, cell) = (&self.desk, self.desk.directory.cell());
        let run = cell.load::<SyncRun>(&desk.project, desk.run.stream).await?;
        if run.state.status.is_final() || run.state.cancel_requested {
            return Ok(Written::Over);
        }
        let at = desk.directory.now();
        let events = decide(&run.state, &SyncRunCommand::ApplyRemovals { at, removals })?;
        if events.is_empty() {
            return Ok(Written::On);
        }
        let mut chunk = vec![cell.prepare(&desk.project, &run, events, &desk.meta)?];
        chunk.extend(changes);
        cell.wait_for_bulk_turn().await;
        Ok(match cell.append_all(chunk).await? {
            ChunkVerdict::Accepted { .. } => Written::On,
            ChunkVerdict::Lost(_) => Written::Lost,
        })
    }

    async fn load(&self) -> Result<SyncRun, CommandError> {
        let cell = self.desk.directory.cell();
        let run = cell.load_fresh::<SyncRun>(&self.desk.project, self.desk.run.stream);
        Ok(run.await?.into_state())
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    On,
    Over,
    Lost,
}
