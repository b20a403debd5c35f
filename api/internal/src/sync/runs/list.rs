//! `runs/list`: the runs of a project, the newest first.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_domain::connection::parse_id;
use roster_domain::sync_run::RunStatus;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::sync_runs;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Answer;
use crate::fields;
use crate::page::{Page, Wanted, paging};

/// Which page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListRunsRequest)]
pub(crate) struct Request {
    #[serde(default, deserialize_with = "fields::text")]
    connection_id: Option<String>,
    /// `queued`, `running`, `succeeded`, `completed_with_errors`, `failed`, `cancelled`, `rate_limited` or `interrupted`.
    #[schema(value_type = Option<String>)]
    status: Option<RunStatus>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// `next_cursor` of the page before, for the same filters; `page` is then only repeated in the answer.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListRuns;
    const EFFECT: Effect = Effect::Reads;
}

/// List runs
#[utoipa::path(
    post,
    path = "/runs/list",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "The newest first, without findings", body = Page<Answer>),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Wanted { page, page_size } = Wanted::new(call.input.page, call.input.page_size)?;
    let paging = paging(page, page_size, call.input.cursor.as_deref())?;
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let Some(project) = project.map_err(CommandError::from)? else {
        return Ok(respond::ok(&Page::<Answer>::empty(page, page_size)));
    };
    let connection = match &call.input.connection_id {
        Some(id) => Some(parse_id(id).ok_or(NotFound::Connection)?),
        None => None,
    };
    let status = call.input.status;
    let found = sync_runs::list(cell.pool(), project.no, connection, status, &paging).await?;
    Ok(respond::ok(&Page {
        items: found.rows.into_iter().map(Answer::brief).collect(),
        total: Some(found.total),
        total_at_least: None,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}
