//! `runs/cancel`: asks a run to stop after the page at hand. What was applied stays.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::NotFound;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, show};
use crate::page::id_or;

/// Which run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelRunRequest)]
pub(crate) struct Request {
    run_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::CancelRun;
    const EFFECT: Effect = Effect::Sets;
}

/// Stop a run
///
/// A run that ended stays as it is.
#[utoipa::path(
    post,
    path = "/runs/cancel",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "The run; its status follows when the worker has stopped", body = Answer),
        (status = 404, description = "`run_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.run_id, NotFound::Run)?;
    let settled = app
        .settle(app.directory().cancel_sync(&call.context, id).await?)
        .await;
    let answer = show(&app, &call.context, id).await?;
    Ok(settled.answer(StatusCode::OK, |_| answer))
}
