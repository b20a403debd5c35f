//! `connections/preview`: the first records of a source, and what a run would make of them. Nothing is written.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::sync::PreviewRow;
use roster_domain::Problem;
use roster_domain::value::profile_json;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Input;
use super::test::trial;

/// The most records.
const LIMIT: u64 = 50;
/// Where nothing is said.
const USUAL: u64 = 10;

/// A saved connection by its id alone, or one as it would be saved.
#[derive(Deserialize, ToSchema)]
#[schema(as = PreviewConnectionRequest)]
pub(crate) struct Request {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    members: Map<String, Value>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::PreviewConnection;
    const EFFECT: Effect = Effect::Reads;
}

/// The first records.
#[derive(Serialize, ToSchema)]
#[schema(as = PreviewConnectionResponse)]
pub(crate) struct Answer {
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// A record.
#[derive(Serialize, ToSchema)]
#[schema(as = PreviewRow)]
pub(crate) struct Row {
    #[schema(value_type = Object)]
    source: Map<String, Value>,
    /// `customer_user_id` and `profile`.
    #[schema(value_type = Object)]
    customer: Value,
    /// `create`, `update`, `unchanged` or `fail`.
    action: &'static str,
    /// `field`, `code` and `message` of each.
    #[schema(value_type = Vec<Object>)]
    errors: Vec<Value>,
}

fn row(row: PreviewRow) -> Result<Row, ApiError> {
    let profile: Value =
        serde_json::from_str(&profile_json(&row.profile)).map_err(ApiError::internal)?;
    let errors = row.errors.into_iter();
    Ok(Row {
        source: row.source,
        customer: json!({"customer_user_id": row.customer_user_id, "profile": profile}),
        action: row.action,
        errors: errors
            .map(|(field, code, message)| json!({"field": field, "code": code, "message": message}))
            .collect(),
    })
}

/// Preview a connection
///
/// The first records as the source has them, and as they would be written; `limit` is 1 to 50.
#[utoipa::path(
    post,
    path = "/connections/preview",
    tag = "sync",
    request_body = Request,
    responses(
        (status = 200, description = "The first records", body = Answer),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let mut members = call.input.members;
    let limit = match members.remove("limit") {
        None | Some(Value::Null) => Some(USUAL),
        Some(limit) => limit.as_u64(),
    };
    let limit = limit.filter(|limit| (1..=LIMIT).contains(limit));
    let limit = limit.ok_or_else(|| {
        let message = format!("must be 1 to {LIMIT}");
        ApiError::body(Problem::new(["limit"], "range", message))
    })?;
    let input: Input = roster_http::members(members)?;
    let input = trial(input)?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let found = app
        .directory()
        .preview_connection(&call.context, &input, limit)
        .await?;
    let rows = found.rows.into_iter().map(row);
    Ok(respond::ok(&Answer {
        columns: found.columns,
        rows: rows.collect::<Result<_, _>>()?,
    }))
}
