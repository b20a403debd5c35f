//! `connections/list`: the connections of a project, in the order of their names.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::connections;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, load, show};
use crate::fields;
use crate::page::{Page, Wanted, paging};

/// Which page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListConnectionsRequest)]
pub(crate) struct Request {
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
    /// Part of a name.
    #[serde(default, deserialize_with = "fields::text")]
    search: Option<String>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// `next_cursor` of the page before, for the same filters; `page` is then only repeated in the answer.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListConnections;
    const EFFECT: Effect = Effect::Reads;
}

/// List connections
#[utoipa::path(
    post,
    path = "/connections/list",
    tag = "sync",
    request_body = Request,
    responses((status = 200, description = "In the order of their names", body = Page<Answer>))
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
    let (provider, search) = (call.input.provider.as_deref(), call.input.search.as_deref());
    let found = connections::list(cell.pool(), project.no, provider, search, &paging).await?;
    let loaded = load(&app, &project, &found.connections).await?;
    Ok(respond::ok(&Page {
        items: show(&app, project.no, loaded).await?,
        total: Some(found.total),
        total_at_least: None,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}
