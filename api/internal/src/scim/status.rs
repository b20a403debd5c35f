//! `scim/status`: shows the SCIM endpoint.

use axum::response::Response;
use roster_commands::authority::Operation;
use roster_http::{ApiError, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

/// Nothing but the scope.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScimStatusRequest)]
pub(crate) struct Request {}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetScimStatus;
    const EFFECT: Effect = Effect::Reads;
}

/// Show the SCIM endpoint
#[utoipa::path(
    post,
    path = "/scim/status",
    tag = "scim",
    request_body = Request,
    responses((status = 501, description = "`not_available`"))
)]
pub(crate) async fn handler(_: Scoped<Request>) -> Result<Response, ApiError> {
    super::not_available()
}
