//! `identities/link`: binds a connector identity to a customer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::LinkInput;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is bound to whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinkIdentityRequest)]
pub(crate) struct Request {
    /// The channel.
    channel: String,
    /// The external user id; a number without `+` or `00` is national to the region of the bound field.
    external_user_id: String,
    /// The customer.
    customer_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::LinkIdentity;
    const EFFECT: Effect = Effect::Sets;
}

/// The link.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkIdentityResponse)]
pub(crate) struct Answer {
    channel: String,
    /// The normalised external user id.
    external_user_id: String,
    customer_user_id: Option<String>,
    /// `manual`, `admin`, `profile` or `auto`.
    linked_by: &'static str,
    #[schema(value_type = String, format = DateTime)]
    linked_at: Timestamp,
    /// Whether the link is new.
    created: bool,
}

/// Bind an identity to a customer
///
/// The same pair again changes nothing. A pair that was unlinked may be matched by rules again.
#[utoipa::path(
    post,
    path = "/identities/link",
    tag = "identities",
    request_body = Request,
    responses(
        (status = 200, description = "The link", body = Answer),
        (status = 404, description = "`customer_not_found`"),
        (status = 409, description = "`identity_linked_elsewhere`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = LinkInput {
        channel: call.input.channel,
        external_user_id: call.input.external_user_id,
        customer_user_id: call.input.customer_user_id,
    };
    let applied = app.directory().link_identity(&call.context, input).await?;
    let settled = app.settle(applied).await;
    Ok(settled.answer(StatusCode::OK, |linked| Answer {
        channel: linked.identity.channel,
        external_user_id: linked.identity.external_user_id,
        customer_user_id: linked.customer_user_id.into_known(),
        linked_by: linked.linked_by.as_str(),
        linked_at: linked.linked_at,
        created: linked.created,
    }))
}
