//! `connections/get`: one connection.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_domain::connection::parse_id;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::connections;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, load, show};

/// Which connection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetConnectionRequest)]
pub(crate) struct Request {
    connection_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetConnection;
    const EFFECT: Effect = Effect::Reads;
}

/// Read a connection
///
/// Of credentials only whether they are set, and the end of long ones.
#[utoipa::path(
    post,
    path = "/connections/get",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "The connection", body = Answer),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let project = project
        .map_err(CommandError::from)?
        .ok_or(NotFound::Connection)?;
    let id = parse_id(call.input.connection_id.trim()).ok_or(NotFound::Connection)?;
    // The rows of the project, so that the id of another project's connection opens nothing.
    let names = connections::names(cell.pool(), project.no).await?;
    if !names.contains_key(call.input.connection_id.trim()) {
        return Err(NotFound::Connection.into());
    }
    let found = load(&app, &project, &[id]).await?;
    let mut shown = show(&app, project.no, found).await?;
    Ok(respond::ok(&shown.pop().ok_or(NotFound::Connection)?))
}
