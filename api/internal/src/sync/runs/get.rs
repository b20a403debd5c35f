//! `runs/get`: one run.

use axum::extract::State;
use axum::response::Response;
use roster_commands::NotFound;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, show};
use crate::page::id_or;

/// Which run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetRunRequest)]
pub(crate) struct Request {
    run_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetRun;
    const EFFECT: Effect = Effect::Reads;
}

/// Read how far a run is
#[utoipa::path(
    post,
    path = "/runs/get",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "The run", body = Answer),
        (status = 404, description = "`run_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.run_id, NotFound::Run)?;
    Ok(respond::ok(&show(&app, &call.context, id).await?))
}
