//! The directory from nothing: the log is folded stream by stream, so that no row is written twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::TryStreamExt;
use roster_store::{Cell, Recorded};
use sqlx::PgConnection;

use super::Directory;
use super::prepared::begin;
use super::statement::Statement;
use crate::customers::copy;
use crate::customers::fold::{CountChange, SourceKey, fold};
use crate::page::PageError;
use crate::rebuild::Rebuild;
use crate::rebuild::filling::Filling;
use crate::runner::Step;
use crate::search::touched::Touched;

impl Rebuild for Directory {
    const TABLES: &'static [&'static str] = &[
        "view_customers",
        "view_data_sources",
        "view_profile_fields",
        "view_schemas",
        "view_preparations",
        "view_imports",
        "view_import_issues",
        "view_suppressions",
        "view_identities",
        "view_grants",
        "view_blocks",
        "view_purges",
        "view_purge_failures",
        "view_connections",
        "view_sync_runs",
    ];
    const FILLED: &'static str = "view_customers";
    const FOLLOWS: Option<&'static str> = None;

    fn on(cell: Cell) -> Self {
        Self::new(cell, Arc::new(Touched::default()))
    }

    async fn expected(filling: &Filling<'_>) -> Result<u64, PageError> {
        Ok(u64::try_from(filling.to).unwrap_or_default())
    }

    async fn fill(&mut self, filling: &Filling<'_>) -> Result<(), PageError> {
        let mut pages = filling.streams();
        let mut copier = filling.copier(Self::FILLED, copy::COLUMNS);
        while let Some(page) = pages.try_next().await? {
            let events: Vec<&Recorded> = page.iter().collect();
            let changes = self.sort(&events).await?;
            let folded = fold(changes, HashMap::new());
            if let Some(others) = self.others.take() {
                let mut link = self.link.lock().await;
                let mut transaction = begin(link.get().await?).await?;
                others.write(&mut transaction).await?;
                let owners = others.owners(&folded);
                others.fill_access(&mut transaction, &owners).await?;
                transaction.commit().await?;
            }
            // Nothing is there yet that could go.
            for (stream, listed) in folded.rows() {
                copy::write(&mut copier.rows, *stream, listed);
            }
            self.total(folded.counts);
            self.totals.fields.absorb(folded.fields);
            copier.flush().await;
            if copier.failed() {
                break;
            }
            (filling.progress)(events.len());
        }
        copier.finish().await
    }

    /// Counts, and field names: those that only erased people used are known to the live table alone.
    async fn complete(
        &mut self,
        connection: &mut PgConnection,
        live: &str,
        step: Step,
    ) -> Result<(), PageError> {
        let totals = std::mem::take(&mut self.totals);
        Statement::of(&totals, step)?.run(&mut *connection).await?;
        let sql = format!(
            "INSERT INTO view_profile_fields (project_no, name)
             SELECT project_no, name FROM {live}.view_profile_fields
                 ON CONFLICT DO NOTHING"
        );
        sqlx::query(&sql).execute(connection).await?;
        Ok(())
    }

    fn items(page: Vec<Recorded>) -> Vec<Recorded> {
        page
    }
}

impl Directory {
    fn total(&mut self, counts: BTreeMap<SourceKey, CountChange>) {
        for (source, change) in counts {
            let total = self.totals.counts.entry(source).or_default();
            total.count += change.count;
            total.enabled += change.enabled;
            total.upserted_at = total.upserted_at.max(change.upserted_at);
        }
    }
}
