//! `connections/delete`: takes a connection away, with its credentials.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::DeletedRows;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Which connection, and what becomes of its rows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeleteConnectionRequest)]
pub(crate) struct Request {
    connection_id: String,
    #[serde(default)]
    customers: Customers,
}

/// What becomes of the rows.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeletedConnectionCustomers)]
pub(crate) enum Customers {
    /// They keep their tag; a later connection may have them.
    #[default]
    Keep,
    /// They are erased; needs `project_users:delete` too.
    Purge,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::DeleteConnection;
    const EFFECT: Effect = Effect::Sets;
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = DeleteConnectionResponse)]
pub(crate) struct Answer {
    deleted: bool,
    /// The purge of its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_id: Option<Uuid>,
}

/// Delete a connection
///
/// A run that goes on is stopped first.
#[utoipa::path(
    post,
    path = "/connections/delete",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "It is gone", body = Answer),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let rows = match call.input.customers {
        Customers::Keep => DeletedRows::Keep,
        Customers::Purge => DeletedRows::Purge,
    };
    let id = call.input.connection_id.trim();
    let deleted = app
        .directory()
        .delete_connection(&call.context, id, rows)
        .await?;
    let settled = app.settle(deleted).await;
    Ok(settled.answer(StatusCode::OK, |deleted| Answer {
        deleted: true,
        purge_id: deleted.purge_id,
    }))
}
