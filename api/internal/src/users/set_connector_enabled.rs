//! `users/set-connector-enabled`: switches one channel of a customer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::Applied;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::record::Record;

/// Which channel of whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetConnectorEnabledRequest)]
pub(crate) struct Request {
    /// The customer.
    customer_user_id: String,
    /// The channel.
    channel: String,
    /// Whether it is on.
    enabled: bool,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::SetConnectorEnabled;
    const EFFECT: Effect = Effect::Sets;
}

/// Switch a channel of a customer
///
/// Links and grants stay, and count again when the channel is switched on.
#[utoipa::path(
    post,
    path = "/users/set-connector-enabled",
    tag = "access",
    request_body = Request,
    responses(
        (status = 200, description = "The customer", body = Record),
        (status = 404, description = "`customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Request {
        customer_user_id,
        channel,
        enabled,
    } = call.input;
    let Applied {
        value,
        position,
        replayed,
    } = app
        .directory()
        .set_connector_enabled(&call.context, &customer_user_id, &channel, enabled)
        .await?;
    let settled = app
        .settle(Applied {
            value: Record::of_upserted(value)?,
            position,
            replayed,
        })
        .await;
    Ok(settled.answer(StatusCode::OK, |record| record))
}
