//! CSV imports: what every route shows of one.

pub(crate) mod cancel;
pub(crate) mod errors;
pub(crate) mod get;
pub(crate) mod list;

use roster_commands::import::unknown_columns;
use roster_commands::{CommandError, Context, NotFound};
use roster_domain::Timestamp;
use roster_domain::import::{IssueDetail, Severity};
use roster_domain::schema::Definition;
use roster_http::{ApiError, App};
use roster_projections::import_issues::{self, ImportIssueRow};
use roster_projections::imports::{self, ImportRow};
use roster_projections::schemas;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Findings in an answer; all of them are in `users/imports/errors`.
const SAMPLE: u32 = 20;

/// The name under which details of findings are sealed.
const ISSUE: &str = "issue";

/// An import.
#[derive(Serialize, ToSchema)]
#[schema(as = Import)]
pub(crate) struct Answer {
    pub(crate) import_id: Uuid,
    /// `pending`, `running`, `completed`, `completed_with_errors`, `failed`, `cancelled` or `interrupted`.
    pub(crate) status: &'static str,
    /// 0 to 100.
    progress_pct: i16,
    /// The provider of the tag that rows get.
    provider: String,
    /// Whether nothing is written.
    dry_run: bool,
    /// Rows read; the five counts below add up to it.
    total: i64,
    created: u64,
    updated: u64,
    unchanged: u64,
    skipped: u64,
    failed: u64,
    /// Values that were left out of rows that were applied.
    warnings: i64,
    /// The first findings of failed rows.
    errors_sample: Vec<Finding>,
    /// The first warnings.
    warnings_sample: Vec<Finding>,
    /// Columns outside of the schema; they are kept as extra fields.
    unknown_columns: Vec<String>,
    /// Why it did not complete.
    reason: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// What went wrong with a row.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportFinding)]
pub(crate) struct Finding {
    /// The number of the record in the file; the header is 1.
    row: u64,
    /// The id that the row gave, unless that person was erased.
    customer_user_id: Option<String>,
    field: Option<String>,
    message: String,
}

/// The row of an import of the caller's project.
pub(crate) async fn find(app: &App, context: &Context, id: Uuid) -> Result<ImportRow, ApiError> {
    let cell = app.directory().cell();
    let project = cell
        .project(&context.scope)
        .await
        .map_err(CommandError::from)?
        .ok_or(NotFound::Import)?;
    Ok(imports::get(cell.pool(), project.no, id)
        .await?
        .ok_or(NotFound::Import)?)
}

/// The import with samples of its findings.
pub(crate) async fn show(app: &App, context: &Context, id: Uuid) -> Result<Answer, ApiError> {
    let cell = app.directory().cell();
    let project = cell
        .project(&context.scope)
        .await
        .map_err(CommandError::from)?
        .ok_or(NotFound::Import)?;
    let row = imports::get(cell.pool(), project.no, id)
        .await?
        .ok_or(NotFound::Import)?;
    let schema = schemas::get(cell.pool(), project.no).await?;
    let definition = schema.map_or_else(Definition::default, |schema| schema.definition);
    let errors_sample = sample(app, id, Severity::Failed).await?;
    let warnings_sample = sample(app, id, Severity::Warning).await?;
    Ok(Answer {
        errors_sample,
        warnings_sample,
        ..Answer::brief(row, &definition)
    })
}

impl Answer {
    /// The import without findings.
    fn brief(row: ImportRow, definition: &Definition) -> Self {
        Self {
            import_id: row.import_id,
            status: row.status.as_str(),
            progress_pct: row.progress_pct,
            provider: row.provider,
            dry_run: row.dry_run,
            total: row.rows_read,
            created: row.counts.created,
            updated: row.counts.updated,
            unchanged: row.counts.unchanged,
            skipped: row.counts.skipped,
            failed: row.counts.failed,
            warnings: row.warnings,
            errors_sample: Vec::new(),
            warnings_sample: Vec::new(),
            unknown_columns: unknown_columns(&row.header, definition),
            reason: row.reason,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

async fn sample(app: &App, id: Uuid, severity: Severity) -> Result<Vec<Finding>, ApiError> {
    let rows =
        import_issues::list(app.directory().cell().pool(), id, severity, None, SAMPLE).await?;
    let details = open(app, id, &rows).await?;
    let findings = rows.into_iter().zip(details).map(|(row, detail)| Finding {
        row: row.issue.row,
        customer_user_id: detail.and_then(|detail| detail.customer_user_id),
        field: row.issue.field,
        message: row.issue.message,
    });
    Ok(findings.collect())
}

/// The details of findings; `None` where the person they are about was erased.
pub(crate) async fn open(
    app: &App,
    import_id: Uuid,
    rows: &[ImportIssueRow],
) -> Result<Vec<Option<IssueDetail>>, ApiError> {
    let sealed: Vec<(Uuid, &str, &[u8])> = rows
        .iter()
        .map(|row| {
            (
                row.issue.about.unwrap_or(import_id),
                ISSUE,
                row.issue.detail.as_slice(),
            )
        })
        .collect();
    let opened = app
        .directory()
        .cell()
        .open_many(&sealed)
        .await
        .map_err(CommandError::from)?;
    Ok(opened
        .into_iter()
        .map(|plain| plain.and_then(|plain| IssueDetail::decode(&plain)))
        .collect())
}
