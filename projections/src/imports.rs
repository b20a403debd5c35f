//! CSV imports: table `view_imports`. Their findings are [`crate::import_issues`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::import::{Counts, Import, ImportEvent, ImportStatus};
use roster_store::{Cell, Recorded};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::customers::Cursor;
use crate::customers::write::storable;
use crate::folds::Folds;
use crate::import_issues::Issues;
use crate::page::PageError;
use crate::paging::{Kind, Paging};

/// One import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRow {
    /// Its id.
    pub import_id: Uuid,
    /// How far it is.
    pub status: ImportStatus,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// The provider of the tag that rows get.
    pub provider: String,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// The cells of the header row, in order.
    pub header: Vec<String>,
    /// Rows read.
    pub rows_read: i64,
    /// What became of them.
    pub counts: Counts,
    /// Warnings.
    pub warnings: i64,
    /// Where the next row starts in the staged text, in bytes.
    pub next_offset: i64,
    /// How long the staged text is, in bytes.
    pub staged_bytes: i64,
    /// 0 to 100.
    pub progress_pct: i16,
    /// Whether a person wants it to stop.
    pub cancel_requested: bool,
    /// Whether its findings are gone.
    pub expired: bool,
    /// When it started.
    pub created_at: Timestamp,
    /// When it last got further.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Imports of a project and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportPage {
    /// The newest first.
    pub rows: Vec<ImportRow>,
    /// All of the project that match.
    pub total: i64,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

const SELECT: &str = "SELECT import_id,
       status,
       reason,
       provider,
       dry_run,
       header,
       rows_read,
       created,
       updated,
       unchanged,
       skipped,
       failed,
       warnings,
       next_offset,
       staged_bytes,
       progress_pct,
       cancel_requested,
       expired,
       created_at,
       updated_at,
       finished_at
  FROM view_imports";

/// An import of a project.
pub async fn get(
    pool: &PgPool,
    project_no: i32,
    import_id: Uuid,
) -> Result<Option<ImportRow>, QueryError> {
    let sql = format!("{SELECT} WHERE import_id = $1 AND project_no = $2");
    let row = sqlx::query(&sql)
        .bind(import_id)
        .bind(project_no)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

/// A page of imports, the newest first; `active_only` leaves out those that ended.
///
/// # Errors
/// [`QueryError::InvalidCursor`] for a cursor of another list.
pub async fn list(
    pool: &PgPool,
    project_no: i32,
    active_only: bool,
    paging: &Paging,
) -> Result<ImportPage, QueryError> {
    const MATCH: &str = "WHERE project_no = $1 AND ($2 = false OR finished_at IS NULL)";
    let active = active_only.then_some("active");
    let kind = Kind::new("imports", project_no, &[active]);
    let after = paging.after(&kind)?;
    let total: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM view_imports {MATCH}"))
        .bind(project_no)
        .bind(active_only)
        .fetch_one(pool)
        .await?;
    let sql = format!(
        "{SELECT} {MATCH} AND ($5::timestamptz IS NULL OR (created_at, import_id) < ($5, $6))
          ORDER BY created_at DESC, import_id DESC
          LIMIT $3 OFFSET $4"
    );
    let rows = sqlx::query(&sql)
        .bind(project_no)
        .bind(active_only)
        .bind(paging.limit())
        .bind(paging.offset())
        .bind(after.at)
        .bind(after.id)
        .fetch_all(pool)
        .await?;
    let mut rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let next = paging.next(&mut rows, |last| {
        kind.cursor(last.created_at, last.import_id.to_string())
    });
    Ok(ImportPage { rows, total, next })
}

fn read(row: &PgRow) -> Result<ImportRow, QueryError> {
    let count = |column| {
        row.try_get::<i64, _>(column)
            .map(|count| u64::try_from(count).unwrap_or_default())
    };
    Ok(ImportRow {
        import_id: row.try_get("import_id")?,
        status: ImportStatus::parse(row.try_get("status")?).ok_or(QueryError::Malformed)?,
        reason: row.try_get("reason")?,
        provider: row.try_get("provider")?,
        dry_run: row.try_get("dry_run")?,
        header: row.try_get("header")?,
        rows_read: row.try_get("rows_read")?,
        counts: Counts {
            created: count("created")?,
            updated: count("updated")?,
            unchanged: count("unchanged")?,
            skipped: count("skipped")?,
            failed: count("failed")?,
        },
        warnings: row.try_get("warnings")?,
        next_offset: row.try_get("next_offset")?,
        staged_bytes: row.try_get("staged_bytes")?,
        progress_pct: row.try_get("progress_pct")?,
        cancel_requested: row.try_get("cancel_requested")?,
        expired: row.try_get("expired")?,
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        updated_at: row.try_get::<DateTime<Utc>, _>("updated_at")?.into(),
        finished_at: row
            .try_get::<Option<DateTime<Utc>>, _>("finished_at")?
            .map(Timestamp::from),
    })
}

/// The imports that a page changes, and their findings.
#[derive(Default)]
pub(crate) struct Imports {
    folds: Folds<Import>,
    changed: BTreeMap<Uuid, (i32, i64, Import)>,
    issues: Issues,
}

impl Imports {
    /// The rows that were collected. The states stay here.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            folds: Folds::default(),
            changed: std::mem::take(&mut self.changed),
            issues: std::mem::take(&mut self.issues),
        }
    }

    pub(crate) fn forget(&mut self) {
        self.folds.forget();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    pub(crate) async fn collect(
        &mut self,
        cell: &Cell,
        recorded: &Recorded,
        mut event: ImportEvent,
    ) -> Result<(), PageError> {
        match &mut event {
            ImportEvent::ChunkApplied { issues, .. } => {
                self.issues
                    .collect(recorded.stream, recorded.position, std::mem::take(issues));
            }
            ImportEvent::Expired { .. } => self.issues.expire(recorded.stream),
            _ => {}
        }
        let state = self.folds.with(cell, recorded, event).await?.clone();
        self.changed.insert(
            recorded.stream,
            (recorded.project_no, recorded.position, state),
        );
        Ok(())
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (id, (project_no, position, import)) in &self.changed {
            write(connection, *id, *project_no, *position, import).await?;
        }
        self.issues.write(connection).await
    }
}

async fn write(
    connection: &mut PgConnection,
    id: Uuid,
    project_no: i32,
    position: i64,
    import: &Import,
) -> Result<(), sqlx::Error> {
    let (Some(created_at), Some(updated_at)) = (import.created_at, import.updated_at) else {
        return Ok(());
    };
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let header: Vec<String> = import.header.iter().cloned().map(storable).collect();
    sqlx::query(
        "INSERT INTO view_imports AS v (
                import_id,
                project_no,
                status,
                reason,
                provider,
                dry_run,
                header,
                rows_read,
                created,
                updated,
                unchanged,
                skipped,
                failed,
                warnings,
                next_offset,
                staged_bytes,
                progress_pct,
                cancel_requested,
                expired,
                created_at,
                updated_at,
                finished_at,
                position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
             ON CONFLICT (import_id) DO UPDATE
            SET status = EXCLUDED.status,
                reason = EXCLUDED.reason,
                rows_read = EXCLUDED.rows_read,
                created = EXCLUDED.created,
                updated = EXCLUDED.updated,
                unchanged = EXCLUDED.unchanged,
                skipped = EXCLUDED.skipped,
                failed = EXCLUDED.failed,
                warnings = EXCLUDED.warnings,
                next_offset = EXCLUDED.next_offset,
                progress_pct = EXCLUDED.progress_pct,
                cancel_requested = EXCLUDED.cancel_requested,
                expired = EXCLUDED.expired,
                updated_at = EXCLUDED.updated_at,
                finished_at = EXCLUDED.finished_at,
                position = EXCLUDED.position
          WHERE v.position <= EXCLUDED.position",
    )
    .bind(id)
    .bind(project_no)
    .bind(import.status.as_str())
    .bind(import.reason.clone().map(storable))
    .bind(storable(import.provider.clone()))
    .bind(import.dry_run)
    .bind(header)
    .bind(number(import.rows))
    .bind(number(import.counts.created))
    .bind(number(import.counts.updated))
    .bind(number(import.counts.unchanged))
    .bind(number(import.counts.skipped))
    .bind(number(import.counts.failed))
    .bind(number(import.warnings))
    .bind(number(import.next_offset))
    .bind(number(import.staged_bytes))
    .bind(i16::from(import.progress_pct()))
    .bind(import.cancel_requested)
    .bind(import.is_expired)
    .bind(created_at.to_utc())
    .bind(updated_at.to_utc())
    .bind(import.finished_at.map(Timestamp::to_utc))
    .bind(position)
    .execute(connection)
    .await?;
    Ok(())
}
