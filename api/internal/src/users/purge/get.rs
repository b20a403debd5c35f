//! `users/purge/get`: one purge.

use axum::extract::State;
use axum::response::Response;
use roster_commands::NotFound;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, show};
use crate::page::id_or;

/// Which purge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetPurgeRequest)]
pub(crate) struct Request {
    purge_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetPurge;
    const EFFECT: Effect = Effect::Reads;
}

/// Read the progress of a purge
#[utoipa::path(
    post,
    path = "/users/purge/get",
    tag = "purges",
    request_body = Request,
    responses(
        (status = 200, description = "The purge", body = Answer),
        (status = 404, description = "`purge_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.purge_id, NotFound::Purge)?;
    Ok(respond::ok(&show(&app, &call.context, id).await?))
}
