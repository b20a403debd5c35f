//! `identities/list`: the identities of one customer.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::{customers, identities};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Identity;

/// Whose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListIdentitiesRequest)]
pub(crate) struct Request {
    /// The customer.
    customer_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListIdentities;
    const EFFECT: Effect = Effect::Reads;
}

/// The identities of a customer.
#[derive(Serialize, ToSchema)]
#[schema(as = ListIdentitiesResponse)]
pub(crate) struct Answer {
    /// By channel and identity.
    items: Vec<Identity>,
}

/// Read the identities of a customer
#[utoipa::path(
    post,
    path = "/identities/list",
    tag = "identities",
    request_body = Request,
    responses(
        (status = 200, description = "The identities", body = Answer),
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
    let customer_ref = row.ok_or(NotFound::Customer)?.customer_ref;
    let links = identities::of_customer(cell.pool(), customer_ref).await?;
    let items = links.into_iter().map(Identity::from).collect();
    Ok(respond::ok(&Answer { items }))
}
