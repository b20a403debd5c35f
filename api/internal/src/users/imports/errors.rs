//! `users/imports/errors`: the failed rows of an import as they were, each with its reason behind it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt};
use roster_commands::NotFound;
use roster_commands::authority::Operation;
use roster_domain::import::{IssueDetail, Severity};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use roster_projections::import_issues::{self, ImportIssueRow, IssuePlace};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{find, open};
use crate::csv_file::{Form, InJson, answer, record};
use crate::page::id_or;

/// Rows that are opened at once.
const PAGE: u32 = 500;

/// The columns behind those of the file.
const REASON: [&str; 3] = ["import_row", "import_field", "import_error"];

/// Which import.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportErrorsRequest)]
pub(crate) struct Request {
    import_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetImportErrors;
    const EFFECT: Effect = Effect::Reads;
}

/// Download the failed rows of an import
///
/// `text/csv`, or `{csv}` with `Accept: application/json`. The last columns are `import_row`, `import_field` and
/// `import_error`. Rows about a person who was erased have no cells.
#[utoipa::path(
    post,
    path = "/users/imports/errors",
    tag = "imports",
    request_body = Request,
    responses(
        (status = 200, description = "The failed rows", content(
            (String = "text/csv"),
            (InJson = "application/json"),
        )),
        (status = 404, description = "`import_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    headers: HeaderMap,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.import_id, NotFound::Import)?;
    let import = find(&app, &call.context, id).await?;
    let header = record(
        import.header.iter().map(String::as_str).chain(REASON),
        false,
    );
    let pieces = stream::iter([header]).chain(failed_rows(app, id, import.header.len()));
    Ok(answer(
        &format!("import-{id}-errors.csv"),
        Form::of(&headers),
        pieces,
    ))
}

/// The failed rows, a piece a page.
fn failed_rows(
    app: App,
    id: Uuid,
    columns: usize,
) -> impl Stream<Item = Result<String, ApiError>> + Send {
    stream::try_unfold(Some(None), move |next: Option<Option<IssuePlace>>| {
        let app = app.clone();
        async move {
            let Some(after) = next else { return Ok(None) };
            let pool = app.directory().cell().pool();
            let rows = import_issues::list(pool, id, Severity::Failed, after, PAGE).await?;
            let Some(last) = rows.last().map(|row| row.place) else {
                return Ok(None);
            };
            let details = open(&app, id, &rows).await?;
            let lines = rows
                .iter()
                .zip(details)
                .map(|(row, detail)| line(row, detail, columns));
            Ok(Some((
                lines.collect::<Result<String, _>>()?,
                Some(Some(last)),
            )))
        }
    })
}

fn line(
    row: &ImportIssueRow,
    detail: Option<IssueDetail>,
    columns: usize,
) -> Result<String, ApiError> {
    let mut cells = detail.map(|detail| detail.cells).unwrap_or_default();
    cells.resize(columns.max(cells.len()), String::new());
    let number = row.issue.row.to_string();
    let reason = [
        number.as_str(),
        row.issue.field.as_deref().unwrap_or_default(),
        row.issue.message.as_str(),
    ];
    record(cells.iter().map(String::as_str).chain(reason), false)
}
