//! `connections/upsert`: creates a connection or settles it anew.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, Input, show};

/// The connection as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = UpsertConnectionRequest)]
pub(crate) struct Request(Input);

impl Endpoint for Request {
    const OPERATION: Operation = Operation::UpsertConnection;
    const EFFECT: Effect = Effect::Sets;
}

/// Create or change a connection
///
/// Another config or mapping clears the cursor: the next run is full. The mapping must reach the primary key.
#[utoipa::path(
    post,
    path = "/connections/upsert",
    tag = "sync",
    request_body = Input,
    responses(
        (status = 200, description = "The connection", body = Answer),
        (status = 404, description = "`connection_not_found`"),
        (status = 409, description = "`version_conflict`, `connection_name_taken`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input.0.into_command()?;
    let saved = app
        .directory()
        .save_connection(&call.context, &input)
        .await?;
    let settled = app.settle(saved).await;
    let project = app.directory().cell().project(&call.context.scope).await;
    let project = project
        .map_err(CommandError::from)?
        .ok_or(NotFound::Connection)?;
    let connection = settled.value.connection.clone();
    let mut shown = show(&app, project.no, vec![connection]).await?;
    let answer = shown.pop().ok_or(NotFound::Connection)?;
    Ok(settled.answer(StatusCode::OK, |_| answer))
}
