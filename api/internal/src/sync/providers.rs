//! `providers/list`: the sources that connections can be made to.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Nothing but the scope.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListProvidersRequest)]
pub(crate) struct Request {}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListProviders;
    const EFFECT: Effect = Effect::Reads;
}

/// The sources of this server.
#[derive(Serialize, ToSchema)]
#[schema(as = Providers)]
pub(crate) struct Answer {
    /// `provider`, `name`, `kind`, `auth[{type, fields[{name, label, secret, required}]}]`, `config_schema`, `modes[]`,
    /// `incremental`, `detects_deletes`, `default_mapping[]` and `docs` of each.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
}

/// List providers
#[utoipa::path(
    post,
    path = "/providers/list",
    tag = "sync",
    request_body = Request,
    responses((status = 200, description = "Every source of this server", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    _call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let sources = app.directory().sources();
    let items = sources.into_iter().map(|source| {
        let provider = source.provider();
        let mut item = serde_json::to_value(provider).map_err(ApiError::internal)?;
        let lines = provider.default_mapping.iter();
        let lines: Vec<Value> = lines
            .map(|(source, target)| json!({"source": source, "target": target}))
            .collect();
        item["default_mapping"] = lines.into();
        item["modes"] = if provider.incremental {
            json!(["incremental", "full"])
        } else {
            json!(["full"])
        };
        Ok(item)
    });
    let items = items.collect::<Result<_, ApiError>>()?;
    Ok(respond::ok(&Answer { items }))
}
