//! `identities/unlink`: revokes the grant of an identity and removes its link.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::UnlinkInput;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields;

/// What is unbound.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UnlinkIdentityRequest)]
pub(crate) struct Request {
    /// The channel.
    channel: String,
    /// The external user id.
    #[serde(default, deserialize_with = "fields::text")]
    external_user_id: Option<String>,
    /// The customer, instead of an identity: everything of that customer on the channel.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// Whether the bound profile field is cleared, where it holds the identity.
    #[serde(default, deserialize_with = "fields::flag")]
    clear_profile_field: Option<bool>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::UnlinkIdentity;
    const EFFECT: Effect = Effect::Sets;
}

/// What was unbound.
#[derive(Serialize, ToSchema)]
#[schema(as = UnlinkIdentityResponse)]
pub(crate) struct Answer {
    /// Whether there was a link.
    unlinked: bool,
    /// Whether there was a grant.
    revoked_grant: bool,
    /// Whether the profile was changed.
    cleared_profile_field: bool,
}

/// Unbind an identity
///
/// No rule binds the pair again until a link or a grant does.
#[utoipa::path(
    post,
    path = "/identities/unlink",
    tag = "identities",
    request_body = Request,
    responses(
        (status = 200, description = "The identity is nobody's", body = Answer),
        (status = 404, description = "`customer_not_found`"),
        (status = 409, description = "`profile_field_required`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = UnlinkInput {
        channel: call.input.channel,
        external_user_id: call.input.external_user_id,
        customer_user_id: call.input.customer_user_id,
        clear_profile_field: call.input.clear_profile_field.unwrap_or(false),
    };
    let applied = app
        .directory()
        .unlink_identity(&call.context, input)
        .await?;
    let settled = app.settle(applied).await;
    Ok(settled.answer(StatusCode::OK, |unlinked| Answer {
        unlinked: unlinked.unlinked,
        revoked_grant: unlinked.revoked_grant,
        cleared_profile_field: unlinked.cleared_profile_field,
    }))
}
