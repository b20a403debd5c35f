//! `users/imports/get`: one import.

use axum::extract::State;
use axum::response::Response;
use roster_commands::NotFound;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, show};
use crate::page::id_or;

/// Which import.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetImportRequest)]
pub(crate) struct Request {
    import_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetImport;
    const EFFECT: Effect = Effect::Reads;
}

/// Read the progress of an import
#[utoipa::path(
    post,
    path = "/users/imports/get",
    tag = "imports",
    request_body = Request,
    responses(
        (status = 200, description = "The import", body = Answer),
        (status = 404, description = "`import_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.import_id, NotFound::Import)?;
    Ok(respond::ok(&show(&app, &call.context, id).await?))
}
