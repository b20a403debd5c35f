//! `unmatched/dismiss`: takes an unmatched identity off the list.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DismissUnmatchedRequest)]
pub(crate) struct Request {
    /// The channel.
    channel: String,
    /// The external user id.
    external_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::DismissUnmatched;
    const EFFECT: Effect = Effect::Sets;
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[schema(as = DismissUnmatchedResponse)]
pub(crate) struct Answer {
    /// Whether it was on the list.
    dismissed: bool,
}

/// Take an unmatched identity off the list
///
/// It comes back when it is seen again.
#[utoipa::path(
    post,
    path = "/unmatched/dismiss",
    tag = "unmatched",
    request_body = Request,
    responses((status = 200, description = "It is not on the list", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Request {
        channel,
        external_user_id,
    } = call.input;
    let dismissed = app
        .directory()
        .dismiss_unmatched(&call.context, &channel, &external_user_id)
        .await?;
    Ok(respond::ok(&Answer { dismissed }))
}
