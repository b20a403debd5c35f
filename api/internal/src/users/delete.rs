//! `users/delete`: erases one person.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeleteUserRequest)]
pub(crate) struct Request {
    /// The customer.
    customer_user_id: String,
    /// Whether imports and syncs skip the id from now on.
    suppress: Option<bool>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::EraseCustomer;
    const EFFECT: Effect = Effect::Sets;
}

/// What went.
#[derive(Serialize, ToSchema)]
#[schema(as = DeleteUserResponse)]
pub(crate) struct Answer {
    /// Always true.
    deleted: bool,
    /// The customer, as the request named it.
    customer_user_id: String,
    /// What went with the customer.
    revoked: Revoked,
}

/// What went with a customer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    links: u64,
    grants: u64,
}

/// Erase a customer
///
/// Revokes links and grants and destroys the key of everything that was ever stored about the person.
#[utoipa::path(
    post,
    path = "/users/delete",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "The customer is gone", body = Answer),
        (status = 404, description = "`customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let customer_user_id = call.input.customer_user_id;
    let suppress = call.input.suppress.unwrap_or(false);
    let applied = app
        .directory()
        .erase_customer(&call.context, &customer_user_id, suppress)
        .await?;
    let settled = app.settle(applied).await;
    Ok(settled.answer(StatusCode::OK, |erased| Answer {
        deleted: true,
        customer_user_id: customer_user_id.trim().to_owned(),
        revoked: Revoked {
            links: erased.links,
            grants: erased.grants,
        },
    }))
}
