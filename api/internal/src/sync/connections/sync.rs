//! `connections/sync`: starts a run.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::RunInput;
use roster_commands::authority::Operation;
use roster_domain::connection::Mode;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields;

/// Which connection, and how.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SyncConnectionRequest)]
pub(crate) struct Request {
    connection_id: String,
    /// `incremental` or `full`; the connection's own where absent.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// Whether nothing is written but the outcome.
    #[serde(default, deserialize_with = "fields::flag")]
    dry_run: Option<bool>,
    /// Whether more may be taken away than the guard allows; needs `project_users:delete` too.
    #[serde(default, deserialize_with = "fields::flag")]
    confirm_deletes: Option<bool>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::SyncConnection;
    const EFFECT: Effect = Effect::Sets;
}

/// A run that was queued.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncConnectionResponse)]
pub(crate) struct Answer {
    run_id: Uuid,
    /// `queued`.
    status: &'static str,
}

/// Start a run
///
/// Customers are written and tagged with the connection. One run at a time.
#[utoipa::path(
    post,
    path = "/connections/sync",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 202, description = "The run is queued", body = Answer),
        (status = 404, description = "`connection_not_found`"),
        (status = 409, description = "`run_in_progress` with its `run_id`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = RunInput {
        connection_id: call.input.connection_id.trim().to_owned(),
        mode: call.input.mode,
        dry_run: call.input.dry_run.unwrap_or(false),
        confirms_deletes: call.input.confirm_deletes.unwrap_or(false),
    };
    let started = app.directory().start_sync(&call.context, &input).await?;
    let settled = app.settle(started).await;
    Ok(settled.answer(StatusCode::ACCEPTED, |started| Answer {
        run_id: started.run_id,
        status: "queued",
    }))
}
