//! `users/imports/cancel`: asks an import to stop. Rows that were applied stay.

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

/// Which import.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelImportRequest)]
pub(crate) struct Request {
    import_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::CancelImport;
    const EFFECT: Effect = Effect::Sets;
}

/// Stop an import
///
/// An import that ended stays as it is.
#[utoipa::path(
    post,
    path = "/users/imports/cancel",
    tag = "imports",
    request_body = Request,
    responses(
        (status = 200, description = "The import; its status follows when the worker has stopped", body = Answer),
        (status = 404, description = "`import_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.import_id, NotFound::Import)?;
    let settled = app
        .settle(app.directory().cancel_import(&call.context, id).await?)
        .await;
    let answer = show(&app, &call.context, id).await?;
    Ok(settled.answer(StatusCode::OK, |_| answer))
}
