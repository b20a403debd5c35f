//! The search index from nothing: rows are made from `view_customers`, a page at a time.
//!
//! The pages are read at different moments. Only rows that stand for a position up to the start are taken: whoever changed
//! since is written when the rebuild catches up, so an id that went from one customer to another is never there twice.

use std::sync::Arc;

use roster_store::{Cell, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Search;
use super::row::SearchRow;
use super::touched::{Touch, Touched};
use crate::customers::write::after;
use crate::directory::Directory;
use crate::page::PageError;
use crate::rebuild::Rebuild;
use crate::rebuild::filling::Filling;
use crate::runner::{Projection, Step};
use crate::status::Shared;

/// The columns in the order of `fill`.
const COLUMNS: &str = "created_at, updated_at, bucket, position, stream_id, project_no, customer_user_id, id_start, \
                       name_start, exact, haystack";
/// Rows of one page.
const PAGE: i64 = 5_000;

impl Rebuild for Search {
    const TABLES: &'static [&'static str] = &["view_customer_search"];
    const FILLED: &'static str = "view_customer_search";
    const FOLLOWS: Option<&'static str> = Some(Directory::NAME);

    fn on(cell: Cell) -> Self {
        let directory = Arc::new(Shared::new(Directory::NAME, Directory::VERSION));
        let own = Arc::new(Shared::new(Self::NAME, Self::VERSION));
        Self::new(cell, directory, own, Arc::new(Touched::default()))
    }

    async fn expected(filling: &Filling<'_>) -> Result<u64, PageError> {
        let rows: i64 =
            sqlx::query_scalar("SELECT COALESCE(sum(count), 0)::bigint FROM view_data_sources")
                .fetch_one(filling.cell.pool())
                .await?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    async fn fill(&mut self, filling: &Filling<'_>) -> Result<(), PageError> {
        let mut copier = filling.copier(Self::FILLED, COLUMNS);
        let mut last = Uuid::nil();
        loop {
            let page = after(filling.cell.pool(), last, PAGE).await?;
            let Some((stream, _)) = page.last() else {
                break;
            };
            last = *stream;
            for (stream, listed) in &page {
                if listed.position > filling.to || filling.parked.contains(stream) {
                    continue;
                }
                let row = SearchRow::of(listed);
                let rows = &mut copier.rows;
                rows.row(11);
                rows.time(listed.customer.created_at);
                rows.time(listed.customer.updated_at);
                rows.int8(listed.bucket());
                rows.int8(listed.position);
                rows.uuid(*stream);
                rows.int4(listed.project_no);
                rows.text(listed.id());
                rows.text(&row.id_start);
                rows.text(&row.name_start);
                rows.int8s(&row.exact);
                rows.text(&row.haystack);
            }
            copier.flush().await;
            if copier.failed() {
                break;
            }
            (filling.progress)(page.len());
        }
        copier.finish().await
    }

    async fn complete(&mut self, _: &mut PgConnection, _: &str, _: Step) -> Result<(), PageError> {
        Ok(())
    }

    fn items(page: Vec<Recorded>) -> Vec<Touch> {
        page.iter().map(Touch::of).collect()
    }
}
