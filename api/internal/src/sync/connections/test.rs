//! `connections/test`: whether a connection works. Nothing is written.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::sync::TrialInput;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Input;

/// A saved connection by its id alone, or one as it would be saved.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = TestConnectionRequest)]
pub(crate) struct Request(Input);

impl Endpoint for Request {
    const OPERATION: Operation = Operation::TestConnection;
    const EFFECT: Effect = Effect::Reads;
}

/// What was found.
#[derive(Serialize, ToSchema)]
#[schema(as = TestConnectionResponse)]
pub(crate) struct Answer {
    ok: bool,
    /// `name`, `ok` and the vendor's own `message` of each; the first that fails is the last.
    #[schema(value_type = Vec<Object>)]
    checks: Vec<Value>,
    latency_ms: u64,
}

/// What is tried: a body with nothing but an id is a saved connection.
pub(super) fn trial(input: Input) -> Result<TrialInput, ApiError> {
    match input.id_alone() {
        Some(id) => Ok(TrialInput::Saved(id.to_owned())),
        None => Ok(TrialInput::Unsaved(Box::new(input.into_command()?))),
    }
}

/// Test a connection
///
/// Validates credentials and mapping, and writes nothing.
#[utoipa::path(
    post,
    path = "/connections/test",
    tag = "sync",
    request_body = Input,
    responses(
        (status = 200, description = "What was found", body = Answer),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = trial(call.input.0)?;
    let found = app
        .directory()
        .test_connection(&call.context, &input)
        .await?;
    let checks = found.checks.iter().map(serde_json::to_value);
    Ok(respond::ok(&Answer {
        ok: found.is_ok(),
        checks: checks
            .collect::<Result<_, _>>()
            .map_err(ApiError::internal)?,
        latency_ms: found.latency_ms,
    }))
}
