//! `users/suppressions/remove`: lets imports and syncs write an id again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RemoveSuppressionRequest)]
pub(crate) struct Request {
    /// The suppressed id.
    customer_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::RemoveSuppression;
    const EFFECT: Effect = Effect::Sets;
}

/// What was removed.
#[derive(Serialize, ToSchema)]
#[schema(as = RemoveSuppressionResponse)]
pub(crate) struct Answer {
    /// Always true.
    removed: bool,
    /// The id, as the request named it.
    customer_user_id: String,
}

/// Lift a suppression
#[utoipa::path(
    post,
    path = "/users/suppressions/remove",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "The id is free again", body = Answer),
        (status = 404, description = "`suppression_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let customer_user_id = call.input.customer_user_id;
    let applied = app
        .directory()
        .remove_suppression(&call.context, &customer_user_id)
        .await?;
    let settled = app.settle(applied).await;
    let customer_user_id = customer_user_id.trim().to_owned();
    Ok(settled.answer(StatusCode::OK, |()| Answer {
        removed: true,
        customer_user_id,
    }))
}
