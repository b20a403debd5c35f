//! The audit log from nothing: the log in its order, a page at a time.

use std::sync::Arc;

use roster_store::{Cell, Recorded};
use sqlx::PgConnection;

use super::{Audit, Entry, actor_key, type_key};
use crate::page::PageError;
use crate::rebuild::Rebuild;
use crate::rebuild::filling::Filling;
use crate::runner::{Projection, Step};
use crate::status::Shared;

/// Events that are read at once.
const PAGE: i64 = 5_000;
/// The columns in the order of `fill`.
const COLUMNS: &str = "position, recorded_at, actor_key, type_key, stream_id, project_no, type_no, type_version, actor, \
                       changed_fields";

impl Rebuild for Audit {
    const TABLES: &'static [&'static str] = &["view_audit_events"];
    const FILLED: &'static str = "view_audit_events";
    const FOLLOWS: Option<&'static str> = None;

    fn on(cell: Cell) -> Self {
        // Neither is looked at: a rebuild reads and waits by itself.
        let shared = Arc::new(Shared::new(Self::NAME, Self::VERSION));
        Self::new(cell, Arc::clone(&shared), Arc::clone(&shared), shared)
    }

    async fn expected(filling: &Filling<'_>) -> Result<u64, PageError> {
        Ok(u64::try_from(filling.to).unwrap_or_default())
    }

    async fn fill(&mut self, filling: &Filling<'_>) -> Result<(), PageError> {
        let mut copier = filling.copier(Self::FILLED, COLUMNS);
        let mut after = 0;
        while after < filling.to && !copier.failed() {
            let limit = PAGE.min(filling.to - after);
            let page = filling.cell.read_page_closed(after, limit).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.position;
            for recorded in page
                .iter()
                .filter(|recorded| !filling.parked.contains(&recorded.stream))
            {
                let entry = Entry::of(recorded)?;
                let rows = &mut copier.rows;
                rows.row(10);
                rows.int8(recorded.position);
                rows.time(recorded.recorded_at.into());
                rows.int8(actor_key(recorded.project_no, &entry.actor));
                rows.int8(type_key(recorded.project_no, recorded.type_no));
                rows.uuid(recorded.stream);
                rows.int4(recorded.project_no);
                rows.int2(recorded.type_no);
                rows.int2(recorded.type_version);
                rows.text(&entry.actor);
                rows.text(&entry.changed);
            }
            copier.flush().await;
            (filling.progress)(page.len());
        }
        copier.finish().await
    }

    async fn complete(&mut self, _: &mut PgConnection, _: &str, _: Step) -> Result<(), PageError> {
        Ok(())
    }

    fn items(page: Vec<Recorded>) -> Vec<Recorded> {
        page
    }
}
