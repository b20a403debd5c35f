//! `users/data-sources/list`: how many customers came from where.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::{connections, data_sources};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Nothing but the scope.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListDataSourcesRequest)]
pub(crate) struct Request {}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListDataSources;
    const EFFECT: Effect = Effect::Reads;
}

/// The data sources of a project.
#[derive(Serialize, ToSchema)]
#[schema(as = DataSourceCounts)]
pub(crate) struct Answer {
    items: Vec<Item>,
    /// Customers from all sources.
    total_customers: i64,
}

/// One data source.
#[derive(Serialize, ToSchema)]
#[schema(as = DataSourceCount)]
pub(crate) struct Item {
    /// `manual`, `csv`, `scim` or `directory_sync`.
    kind: &'static str,
    provider: Option<String>,
    connection_id: Option<String>,
    /// What people call the connection; null once it is deleted.
    connection_name: Option<String>,
    count: i64,
    enabled_count: i64,
    #[schema(value_type = String, format = DateTime)]
    last_upserted_at: Timestamp,
}

/// Count customers by data source
#[utoipa::path(
    post,
    path = "/users/data-sources/list",
    tag = "users",
    request_body = Request,
    responses((status = 200, description = "Every source that has customers", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let cell = app.directory().cell();
    let (rows, names) = match cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?
    {
        Some(project) => (
            data_sources::list(cell.pool(), project.no).await?,
            connections::names(cell.pool(), project.no).await?,
        ),
        None => (Vec::new(), BTreeMap::new()),
    };
    let total_customers = rows.iter().map(|row| row.count).sum();
    let items = rows.into_iter().map(|row| Item {
        kind: row.kind.as_str(),
        provider: row.provider,
        connection_name: row
            .connection_id
            .as_ref()
            .and_then(|id| names.get(id).cloned()),
        connection_id: row.connection_id,
        count: row.count,
        enabled_count: row.enabled_count,
        last_upserted_at: row.last_upserted_at,
    });
    Ok(respond::ok(&Answer {
        items: items.collect(),
        total_customers,
    }))
}
