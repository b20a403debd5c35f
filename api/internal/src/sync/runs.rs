//! Runs of connections: what every route shows of one.

pub(crate) mod cancel;
pub(crate) mod errors;
pub(crate) mod get;
pub(crate) mod list;

use std::sync::Arc;

use roster_commands::{CommandError, Context, NotFound, Project};
use roster_domain::Timestamp;
use roster_domain::connection::id_text;
use roster_domain::import::{IssueDetail, Severity};
use roster_domain::sync_run::SyncRun;
use roster_http::{ApiError, App};
use roster_projections::import_issues::{self, ImportIssueRow};
use roster_projections::sync_runs::{self, SyncRunRow};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::users::imports;

/// Findings in an answer; all of them are in `runs/errors`.
const SAMPLE: u32 = 20;

/// A run.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncRun)]
pub(crate) struct Answer {
    run_id: Uuid,
    connection_id: String,
    /// `manual` or `schedule`.
    trigger: String,
    /// `incremental` or `full`.
    mode: &'static str,
    dry_run: bool,
    /// `queued`, `running`, `succeeded`, `completed_with_errors`, `failed`, `cancelled`, `rate_limited` or `interrupted`.
    pub(crate) status: &'static str,
    /// Why it did not succeed: a stable word.
    code: Option<String>,
    /// The same for people, in the source's own words.
    message: Option<String>,
    counts: Counts,
    progress: Progress,
    /// The first failed records.
    errors_sample: Vec<Finding>,
    /// From where on changes were asked for.
    #[schema(value_type = Option<Object>)]
    cursor_before: Option<Value>,
    /// Where the next run starts.
    #[schema(value_type = Option<Object>)]
    cursor_after: Option<Value>,
    /// When the source answers again.
    #[schema(value_type = Option<String>, format = DateTime)]
    retry_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// From start to end.
    duration_ms: Option<i64>,
}

/// What became of records, and of rows whose record is gone.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncRunCounts)]
struct Counts {
    /// The sum of the next five.
    read: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    skipped: u64,
    failed: u64,
    /// Values that were left out of records that were applied.
    warnings: i64,
    removed_at_source: u64,
    disabled: u64,
    deleted: u64,
    deletes_held_back: u64,
}

/// How far a run is. A source does not say how much there is.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncRunProgress)]
struct Progress {
    pages: i64,
    records: u64,
    /// Whether everything is read.
    all_read: bool,
}

/// What went wrong with a record.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncRunFinding)]
pub(crate) struct Finding {
    /// The number of the record in the run.
    row: u64,
    /// The source's id of it, unless that person was erased.
    source_id: Option<String>,
    field: Option<String>,
    code: String,
    message: String,
}

impl Answer {
    /// The run without findings and what is sealed.
    pub(crate) fn brief(row: SyncRunRow) -> Self {
        let counts = row.counts;
        let duration = row.started_at.zip(row.finished_at);
        Self {
            run_id: row.run_id,
            connection_id: id_text(row.connection_id),
            trigger: row.trigger,
            mode: if row.is_full { "full" } else { "incremental" },
            dry_run: row.dry_run,
            status: row.status.as_str(),
            code: row.code,
            message: None,
            counts: Counts {
                read: counts.total(),
                created: counts.created,
                updated: counts.updated,
                unchanged: counts.unchanged,
                skipped: counts.skipped,
                failed: counts.failed,
                warnings: row.warnings,
                removed_at_source: row.removals.removed_at_source,
                disabled: row.removals.disabled,
                deleted: row.removals.deleted,
                deletes_held_back: row.removals.held_back,
            },
            progress: Progress {
                pages: row.pages,
                records: counts.total(),
                all_read: row.is_walked,
            },
            errors_sample: Vec::new(),
            cursor_before: None,
            cursor_after: None,
            retry_at: row.retry_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            duration_ms: duration.map(|(from, to)| (to.0 - from.0) / 1_000),
        }
    }
}

/// The row of a run of the caller's project.
pub(crate) async fn find(
    app: &App,
    context: &Context,
    id: Uuid,
) -> Result<(Arc<Project>, SyncRunRow), ApiError> {
    let cell = app.directory().cell();
    let project = cell.project(&context.scope).await;
    let project = project.map_err(CommandError::from)?.ok_or(NotFound::Run)?;
    let row = sync_runs::get(cell.pool(), project.no, id).await?;
    Ok((project, row.ok_or(NotFound::Run)?))
}

/// The run with a sample of its findings.
pub(crate) async fn show(app: &App, context: &Context, id: Uuid) -> Result<Answer, ApiError> {
    let (project, row) = find(app, context, id).await?;
    let cell = app.directory().cell();
    let run = cell.load_fresh::<SyncRun>(&project, id).await;
    let run = run.map_err(CommandError::from)?.into_state();
    let cursor = |text: Option<Option<String>>| {
        text.flatten()
            .and_then(|text| serde_json::from_str(&text).ok())
    };
    Ok(Answer {
        errors_sample: sample(app, id).await?,
        message: run.message.into_known().flatten(),
        cursor_before: cursor(run.cursor_before.into_known()),
        cursor_after: cursor(run.cursor_after.into_known()),
        ..Answer::brief(row)
    })
}

async fn sample(app: &App, id: Uuid) -> Result<Vec<Finding>, ApiError> {
    let pool = app.directory().cell().pool();
    let mut rows = import_issues::list(pool, id, Severity::Failed, None, SAMPLE).await?;
    if rows.is_empty() {
        rows = import_issues::list(pool, id, Severity::Warning, None, SAMPLE).await?;
    }
    let details = imports::open(app, id, &rows).await?;
    let findings = rows.into_iter().zip(details);
    Ok(findings
        .map(|(row, detail)| finding(row, detail.as_ref()))
        .collect())
}

fn finding(row: ImportIssueRow, detail: Option<&IssueDetail>) -> Finding {
    Finding {
        row: row.issue.row,
        source_id: detail.and_then(|detail| detail.cells.first().cloned()),
        field: row.issue.field,
        code: row.issue.code,
        message: row.issue.message,
    }
}
