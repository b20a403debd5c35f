//! Runs of connections: table `view_sync_runs`. Their findings are [`crate::import_issues`]; what is sealed is read from the
//! run's stream.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::import::Counts;
use roster_domain::sync_run::{Removals, RunStatus, SyncRun, SyncRunEvent};
use roster_store::{Cell, Recorded};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::customers::Cursor;
use crate::folds::Folds;
use crate::import_issues::Issues;
use crate::page::PageError;
use crate::paging::{Kind, Paging};

/// One run.
#[expect(clippy::struct_excessive_bools, reason = "the columns of a row")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRunRow {
    /// Its id.
    pub run_id: Uuid,
    /// Of which connection.
    pub connection_id: Uuid,
    /// Why it started, as a word.
    pub trigger: String,
    /// Whether everything is asked for.
    pub is_full: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// How far it is.
    pub status: RunStatus,
    /// Why it did not succeed, as a stable word.
    pub code: Option<String>,
    /// Pages read.
    pub pages: i64,
    /// What became of the records.
    pub counts: Counts,
    /// Values that were left out.
    pub warnings: i64,
    /// What became of rows whose record is gone.
    pub removals: Removals,
    /// Whether everything is read.
    pub is_walked: bool,
    /// Whether a person wants it to stop.
    pub cancel_requested: bool,
    /// When the source answers again.
    pub retry_at: Option<Timestamp>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When a worker began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Runs of a project and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRunPage {
    /// The newest first.
    pub rows: Vec<SyncRunRow>,
    /// All of the project that match.
    pub total: i64,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

const SELECT: &str = "SELECT * FROM view_sync_runs";

/// A run of a project.
pub async fn get(
    pool: &PgPool,
    project_no: i32,
    run_id: Uuid,
) -> Result<Option<SyncRunRow>, QueryError> {
    let sql = format!("{SELECT} WHERE run_id = $1 AND project_no = $2");
    let row = sqlx::query(&sql)
        .bind(run_id)
        .bind(project_no)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

/// A page of runs, the newest first, of one connection or all, with one status or any.
///
/// # Errors
/// [`QueryError::InvalidCursor`] for a cursor of another list.
pub async fn list(
    pool: &PgPool,
    project_no: i32,
    connection_id: Option<Uuid>,
    status: Option<RunStatus>,
    paging: &Paging,
) -> Result<SyncRunPage, QueryError> {
    const MATCH: &str = "WHERE project_no = $1
            AND ($2::uuid IS NULL OR connection_id = $2)
            AND ($3::text IS NULL OR status = $3)";
    let status = status.map(RunStatus::as_str);
    let of = connection_id.map(|id| id.to_string());
    let kind = Kind::new("runs", project_no, &[of.as_deref(), status]);
    let after = paging.after(&kind)?;
    let total = sqlx::query_scalar(&format!("SELECT count(*) FROM view_sync_runs {MATCH}"))
        .bind(project_no)
        .bind(connection_id)
        .bind(status)
        .fetch_one(pool)
        .await?;
    let sql = format!(
        "{SELECT} {MATCH} AND ($6::timestamptz IS NULL OR (created_at, run_id) < ($6, $7))
          ORDER BY created_at DESC, run_id DESC
          LIMIT $4 OFFSET $5"
    );
    let rows = sqlx::query(&sql)
        .bind(project_no)
        .bind(connection_id)
        .bind(status)
        .bind(paging.limit())
        .bind(paging.offset())
        .bind(after.at)
        .bind(after.id)
        .fetch_all(pool)
        .await?;
    let mut rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let next = paging.next(&mut rows, |last| {
        kind.cursor(last.created_at, last.run_id.to_string())
    });
    Ok(SyncRunPage { rows, total, next })
}

fn read(row: &PgRow) -> Result<SyncRunRow, QueryError> {
    let count = |column| {
        row.try_get::<i64, _>(column)
            .map(|count| u64::try_from(count).unwrap_or_default())
    };
    let time = |column| {
        row.try_get::<Option<DateTime<Utc>>, _>(column)
            .map(|at| at.map(Timestamp::from))
    };
    Ok(SyncRunRow {
        run_id: row.try_get("run_id")?,
        connection_id: row.try_get("connection_id")?,
        trigger: row.try_get("trigger")?,
        is_full: row.try_get("is_full")?,
        dry_run: row.try_get("dry_run")?,
        status: RunStatus::parse(row.try_get("status")?).ok_or(QueryError::Malformed)?,
        code: row.try_get("code")?,
        pages: row.try_get("pages")?,
        counts: Counts {
            created: count("created")?,
            updated: count("updated")?,
            unchanged: count("unchanged")?,
            skipped: count("skipped")?,
            failed: count("failed")?,
        },
        warnings: row.try_get("warnings")?,
        removals: Removals {
            removed_at_source: count("removed_at_source")?,
            disabled: count("disabled")?,
            deleted: count("deleted")?,
            held_back: count("held_back")?,
        },
        is_walked: row.try_get("is_walked")?,
        cancel_requested: row.try_get("cancel_requested")?,
        retry_at: time("retry_at")?,
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
    })
}

/// The runs that a page changes, and their findings.
#[derive(Default)]
pub(crate) struct SyncRuns {
    folds: Folds<SyncRun>,
    changed: BTreeMap<Uuid, (i32, i64, SyncRun)>,
    issues: Issues,
}

impl SyncRuns {
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
        mut event: SyncRunEvent,
    ) -> Result<(), PageError> {
        match &mut event {
            SyncRunEvent::PageApplied { page, .. } => {
                let issues = std::mem::take(&mut page.issues);
                self.issues
                    .collect(recorded.stream, recorded.position, issues);
            }
            SyncRunEvent::Expired { .. } => self.issues.expire(recorded.stream),
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
        for (id, (project_no, position, run)) in &self.changed {
            write(connection, *id, *project_no, *position, run).await?;
        }
        self.issues.write(connection).await
    }
}

async fn write(
    connection: &mut PgConnection,
    id: Uuid,
    project_no: i32,
    position: i64,
    run: &SyncRun,
) -> Result<(), sqlx::Error> {
    let Some(created_at) = run.created_at else {
        return Ok(());
    };
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO view_sync_runs AS v (
                run_id,
                project_no,
                connection_id,
                trigger,
                is_full,
                dry_run,
                status,
                code,
                pages,
                created,
                updated,
                unchanged,
                skipped,
                failed,
                warnings,
                removed_at_source,
                disabled,
                deleted,
                held_back,
                is_walked,
                cancel_requested,
                retry_at,
                created_at,
                started_at,
                finished_at,
                position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
                 $24, $25, $26)
             ON CONFLICT (run_id) DO UPDATE
            SET is_full = EXCLUDED.is_full,
                status = EXCLUDED.status,
                code = EXCLUDED.code,
                pages = EXCLUDED.pages,
                created = EXCLUDED.created,
                updated = EXCLUDED.updated,
                unchanged = EXCLUDED.unchanged,
                skipped = EXCLUDED.skipped,
                failed = EXCLUDED.failed,
                warnings = EXCLUDED.warnings,
                removed_at_source = EXCLUDED.removed_at_source,
                disabled = EXCLUDED.disabled,
                deleted = EXCLUDED.deleted,
                held_back = EXCLUDED.held_back,
                is_walked = EXCLUDED.is_walked,
                cancel_requested = EXCLUDED.cancel_requested,
                retry_at = EXCLUDED.retry_at,
                started_at = EXCLUDED.started_at,
                finished_at = EXCLUDED.finished_at,
                position = EXCLUDED.position
          WHERE v.position <= EXCLUDED.position",
    )
    .bind(id)
    .bind(project_no)
    .bind(run.connection_id)
    .bind(run.trigger.as_str())
    .bind(run.is_full)
    .bind(run.dry_run)
    .bind(run.status.as_str())
    .bind(&run.code)
    .bind(number(run.pages))
    .bind(number(run.counts.created))
    .bind(number(run.counts.updated))
    .bind(number(run.counts.unchanged))
    .bind(number(run.counts.skipped))
    .bind(number(run.counts.failed))
    .bind(number(run.warnings))
    .bind(number(run.removals.removed_at_source))
    .bind(number(run.removals.disabled))
    .bind(number(run.removals.deleted))
    .bind(number(run.removals.held_back))
    .bind(run.is_walked)
    .bind(run.cancel_requested)
    .bind(run.retry_at.map(Timestamp::to_utc))
    .bind(created_at.to_utc())
    .bind(run.started_at.map(Timestamp::to_utc))
    .bind(run.finished_at.map(Timestamp::to_utc))
    .bind(position)
    .execute(connection)
    .await?;
    Ok(())
}
