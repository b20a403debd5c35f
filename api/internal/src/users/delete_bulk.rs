//! `users/delete-bulk`: starts the purge of named customers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

use super::purge::Started;

/// Whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeleteUsersRequest)]
pub(crate) struct Request {
    /// 1 to 500 ids; each counts once.
    customer_user_ids: Vec<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::PurgeCustomers;
    const EFFECT: Effect = Effect::Starts;
}

/// Erase many customers by id
///
/// Answers at once; `users/purge/get` tells how far it is. Ids that nobody has are counted as not found. The same request
/// is answered with its unfinished purge.
#[utoipa::path(
    post,
    path = "/users/delete-bulk",
    tag = "purges",
    request_body = Request,
    responses((status = 202, description = "The purge goes on by itself", body = Started))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let ids = call.input.customer_user_ids;
    let applied = app.directory().purge_customers(&call.context, &ids).await?;
    let settled = app.settle(applied).await;
    Ok(settled.answer(StatusCode::ACCEPTED, |started| Started::of(started, false)))
}
