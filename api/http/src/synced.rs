//! The rows of connections as this server reads them, for the syncs of the commands.

use std::time::Duration;

use async_trait::async_trait;
use roster_commands::CommandError;
use roster_commands::sync::{Row, Rows, Tag};
use roster_projections::customers::synced::{self, SyncedRow, Tagged};
use roster_projections::{Projections, QueryError};

/// How long a run waits for the read side at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rows out of the read tables.
#[derive(Clone)]
pub struct ProjectedRows {
    projections: Projections,
}

impl ProjectedRows {
    /// The rows that projections of a cell keep.
    pub const fn new(projections: Projections) -> Self {
        Self { projections }
    }
}

fn tagged(tag: &Tag) -> Tagged<'_> {
    Tagged {
        project_no: tag.project_no,
        provider: &tag.provider,
        connection_id: &tag.connection_id,
    }
}

fn failed(error: QueryError) -> CommandError {
    match error {
        QueryError::Database(error) => error.into(),
        QueryError::Store(error) => error.into(),
        QueryError::Behind => CommandError::Unavailable,
        other @ (QueryError::InvalidCursor | QueryError::Malformed) => {
            CommandError::Internal(Box::new(other))
        }
    }
}

fn rows(rows: Vec<SyncedRow>) -> Vec<Row> {
    let rows = rows.into_iter();
    rows.map(|(stream, customer_user_id, external_id)| Row {
        stream,
        customer_user_id,
        external_id,
    })
    .collect()
}

#[async_trait]
impl Rows for ProjectedRows {
    async fn reach(&self, position: i64) -> bool {
        self.projections.wait_for(position, PATIENCE).await
    }

    async fn count(&self, tag: &Tag) -> Result<u64, CommandError> {
        synced::count(self.projections.pool(), tagged(tag))
            .await
            .map_err(failed)
    }

    async fn page(
        &self,
        tag: &Tag,
        enabled: bool,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Row>, CommandError> {
        let page = synced::page(self.projections.pool(), tagged(tag), enabled, after, limit).await;
        page.map(rows).map_err(failed)
    }

    async fn of_records(&self, tag: &Tag, record_ids: &[String]) -> Result<Vec<Row>, CommandError> {
        let found = synced::of_records(self.projections.pool(), tagged(tag), record_ids).await;
        found.map(rows).map_err(failed)
    }
}
