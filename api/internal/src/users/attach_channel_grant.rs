//! `users/attach-channel-grant`: binds an identity to a customer and grants agents, or grants them to everybody.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{AttachInput, Grantee};
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::AccessRow;
use crate::fields;

/// Who may use which agents where.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AttachChannelGrantRequest)]
pub(crate) struct Request {
    /// The customer; absent where everybody is meant.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// The channel.
    channel: String,
    /// The identity; the value of the bound profile field where absent; `*` is everybody.
    #[serde(default, deserialize_with = "fields::text")]
    external_user_id: Option<String>,
    /// The agents, compared without case; `*` is every one.
    agents: Vec<String>,
    /// Whether the grant is on; it is where absent. One that is off denies.
    #[serde(default, deserialize_with = "fields::flag")]
    enabled: Option<bool>,
    /// From then on the grant is as if it were not there.
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::AttachChannelGrant;
    const EFFECT: Effect = Effect::Sets;
}

/// Grant agents on a channel
///
/// Writes the identity into the bound profile field, links it and sets its grant.
#[utoipa::path(
    post,
    path = "/users/attach-channel-grant",
    tag = "access",
    request_body = Request,
    responses(
        (status = 200, description = "The channel as it is now", body = AccessRow),
        (status = 404, description = "`customer_not_found`"),
        (status = 409, description = "`identity_linked_elsewhere`, `unique_value_taken`, `primary_key_mismatch`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let grantee = Grantee::of(input.customer_user_id, input.external_user_id)?;
    let row = match grantee {
        Grantee::Everybody => AccessRow::of_everybody,
        Grantee::Customer { .. } => AccessRow::from,
    };
    let input = AttachInput {
        grantee,
        channel: input.channel,
        agents: input.agents,
        enabled: input.enabled.unwrap_or(true),
        expires_at: input.expires_at,
    };
    let applied = app
        .directory()
        .attach_channel_grant(&call.context, input)
        .await?;
    let settled = app.settle(applied).await;
    Ok(settled.answer(StatusCode::OK, row))
}
