//! `schema/get`: the schema in effect.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::schema::Definition;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::schemas;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Answer;

/// Nothing but the scope.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetSchemaRequest)]
pub(crate) struct Request {}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetSchema;
    const EFFECT: Effect = Effect::Reads;
}

/// Read the schema
///
/// A project that never wrote one has the default schema, version 0.
#[utoipa::path(
    post,
    path = "/schema/get",
    tag = "schema",
    request_body = Request,
    responses((status = 200, description = "The schema in effect", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let cell = app.directory().cell();
    let row = match cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?
    {
        Some(project) => schemas::get(cell.pool(), project.no).await?,
        None => None,
    };
    let answer = match row {
        Some(row) => Answer {
            schema: row.definition,
            version: row.version,
            updated_at: Some(row.updated_at),
        },
        None => Answer {
            schema: Definition::default(),
            version: 0,
            updated_at: None,
        },
    };
    Ok(respond::ok(&answer))
}
