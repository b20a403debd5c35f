//! `users/channel-access/list`: what a customer may use, channel by channel.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{AccessRow, shown, stored};

/// Whose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListChannelAccessRequest)]
pub(crate) struct Request {
    /// The customer.
    customer_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListChannelAccess;
    const EFFECT: Effect = Effect::Reads;
}

/// Every channel of the schema, and every one that the customer is linked on.
#[derive(Serialize, ToSchema)]
#[schema(as = ListChannelAccessResponse)]
pub(crate) struct Answer {
    /// By channel.
    items: Vec<AccessRow>,
}

/// Read what a customer may use
#[utoipa::path(
    post,
    path = "/users/channel-access/list",
    tag = "access",
    request_body = Request,
    responses(
        (status = 200, description = "One row a channel", body = Answer),
        (status = 404, description = "`customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let cell = app.directory().cell();
    let project = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?;
    let project = project.ok_or(NotFound::Customer)?;
    let schema = app.schema(Some(project.no)).await?;
    let id = schema
        .canonical_id(&call.input.customer_user_id)
        .map_err(ApiError::body)?;
    let row = customers::get(cell.pool(), project.no, &id).await?;
    let row = row.ok_or(NotFound::Customer)?;
    let access = stored(&app, &row).await?;
    let (_, items) = shown(&app, project.no, &row, access, &schema).await?;
    Ok(respond::ok(&Answer { items }))
}
