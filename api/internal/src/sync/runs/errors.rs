//! `runs/errors`: all failed records of a run.

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

use super::find;
use crate::csv_file::{Form, answer, record};
use crate::page::id_or;
use crate::users::imports::open;

/// Records that are opened at once.
const PAGE: u32 = 500;

/// The columns.
const HEADER: [&str; 6] = ["row", "source_id", "field", "code", "message", "record"];

/// Which run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunErrorsRequest)]
pub(crate) struct Request {
    run_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetRunErrors;
    const EFFECT: Effect = Effect::Reads;
}

/// Download the failed records of a run
///
/// `text/csv`, or `{csv}` with `Accept: application/json`. The last column is the record as JSON, cut at 4 KiB; records about a
/// person who was erased have none.
#[utoipa::path(
    post,
    path = "/runs/errors",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "The failed records", body = String, content_type = "text/csv"),
        (status = 404, description = "`run_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    headers: HeaderMap,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.run_id, NotFound::Run)?;
    find(&app, &call.context, id).await?;
    let pieces = stream::iter([record(HEADER, false)]).chain(failed_records(app, id));
    Ok(answer(
        &format!("run-{id}-errors.csv"),
        Form::of(&headers),
        pieces,
    ))
}

fn failed_records(app: App, id: Uuid) -> impl Stream<Item = Result<String, ApiError>> + Send {
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
                .map(|(row, detail)| line(row, detail));
            let lines = lines.collect::<Result<String, _>>()?;
            Ok(Some((lines, Some(Some(last)))))
        }
    })
}

fn line(row: &ImportIssueRow, detail: Option<IssueDetail>) -> Result<String, ApiError> {
    let cells = detail.map(|detail| detail.cells).unwrap_or_default();
    let cell = |index: usize| cells.get(index).map_or("", String::as_str);
    let number = row.issue.row.to_string();
    let columns = [
        number.as_str(),
        cell(0),
        row.issue.field.as_deref().unwrap_or_default(),
        row.issue.code.as_str(),
        row.issue.message.as_str(),
        cell(1),
    ];
    record(columns, false)
}
