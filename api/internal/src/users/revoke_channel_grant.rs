//! `users/revoke-channel-grant`: takes a customer's grant on a channel, or everybody's.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::Grantee;
use roster_commands::authority::Operation;
use roster_domain::Problem;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields;

/// Whose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RevokeChannelGrantRequest)]
pub(crate) struct Request {
    /// The customer; absent where everybody's grant is meant.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// The channel.
    channel: String,
    /// `*` without a customer: the grant of everybody.
    #[serde(default, deserialize_with = "fields::text")]
    external_user_id: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::RevokeChannelGrant;
    const EFFECT: Effect = Effect::Sets;
}

/// What was revoked.
#[derive(Serialize, ToSchema)]
#[schema(as = RevokeChannelGrantResponse)]
pub(crate) struct Answer {
    /// Always true.
    revoked: bool,
    /// The customer, as the request named it.
    customer_user_id: Option<String>,
    /// The channel, as the request named it.
    channel: String,
}

/// Revoke a channel grant
///
/// The link stays; the wildcard grant of the channel, if there is one, decides from now on.
#[utoipa::path(
    post,
    path = "/users/revoke-channel-grant",
    tag = "access",
    request_body = Request,
    responses(
        (status = 200, description = "The grant is gone", body = Answer),
        (status = 404, description = "`grant_not_found`, `customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Request {
        customer_user_id,
        channel,
        external_user_id,
    } = call.input;
    if customer_user_id.is_some() && external_user_id.is_some() {
        let message = "a customer's grants on a channel go together";
        return Err(ApiError::body(Problem::new(
            ["external_user_id"],
            "not_allowed",
            message,
        )));
    }
    let grantee = Grantee::of(customer_user_id.clone(), external_user_id)?;
    let applied = app
        .directory()
        .revoke_channel_grant(&call.context, &grantee, &channel)
        .await?;
    let settled = app.settle(applied).await;
    Ok(settled.answer(StatusCode::OK, |()| Answer {
        revoked: true,
        customer_user_id,
        channel: channel.trim().to_owned(),
    }))
}
