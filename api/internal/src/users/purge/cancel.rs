//! `users/purge/cancel`: asks a purge to stop. Who was erased stays so.

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

/// Which purge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelPurgeRequest)]
pub(crate) struct Request {
    purge_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::CancelPurge;
    const EFFECT: Effect = Effect::Sets;
}

/// Stop a purge
///
/// A purge that ended stays as it is.
#[utoipa::path(
    post,
    path = "/users/purge/cancel",
    tag = "purges",
    request_body = Request,
    responses(
        (status = 200, description = "The purge; its status follows when the worker has stopped", body = Answer),
        (status = 404, description = "`purge_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.purge_id, NotFound::Purge)?;
    let settled = app
        .settle(app.directory().cancel_purge(&call.context, id).await?)
        .await;
    let answer = show(&app, &call.context, id).await?;
    Ok(settled.answer(StatusCode::OK, |_| answer))
}
