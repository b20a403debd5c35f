//! `users/delete-by-filter`: starts the purge of whoever matches a filter.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, Matched, PurgeInput};
use roster_domain::Timestamp;
use roster_domain::purge::LARGEST_PURGE;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use roster_projections::customers::{self, Filter};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::purge::{Started, purge_filter};
use crate::fields::{self, Values};
use crate::filters::Filters;

/// The filters of `users/list`. A body of `users/list` can be sent as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeleteUsersByFilterRequest)]
pub(crate) struct Request {
    #[serde(default, deserialize_with = "fields::text")]
    search: Option<String>,
    #[serde(default, deserialize_with = "fields::flag")]
    enabled_only: Option<bool>,
    #[serde(default, deserialize_with = "fields::flag")]
    disabled_only: Option<bool>,
    /// `manual`, `csv`, `scim` or `directory_sync`.
    #[serde(default, deserialize_with = "fields::text")]
    data_source_kind: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    data_source_provider: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    data_source_connection_id: Option<String>,
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_since: Option<Timestamp>,
    #[schema(value_type = Option<Object>)]
    fields: Option<Values>,
    /// The id of the project: required unless there is a search or a data source.
    #[serde(default, deserialize_with = "fields::text")]
    confirm_project_id: Option<String>,
    /// How many customers must match, as `users/delete-preview` counts them.
    expected_total: Option<u64>,
    /// 1 to 5,000: so many at most, the first by id.
    limit: Option<u64>,
    /// Not looked at, as are the other members of a list.
    #[serde(default, rename = "page")]
    #[schema(value_type = Option<u64>)]
    _page: IgnoredAny,
    #[serde(default, rename = "page_size")]
    #[schema(value_type = Option<u64>)]
    _page_size: IgnoredAny,
    #[serde(default, rename = "sort")]
    #[schema(value_type = Option<String>)]
    _sort: IgnoredAny,
    #[serde(default, rename = "order")]
    #[schema(value_type = Option<String>)]
    _order: IgnoredAny,
    #[serde(default, rename = "cursor")]
    #[schema(value_type = Option<String>)]
    _cursor: IgnoredAny,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::PurgeByFilter;
    const EFFECT: Effect = Effect::Starts;
}

/// Erase whoever matches a filter
///
/// Answers at once; `users/purge/get` tells how far it is. Who matches is settled when it starts: customers who match
/// later stay. The same request is answered with its unfinished purge.
#[utoipa::path(
    post,
    path = "/users/delete-by-filter",
    tag = "purges",
    request_body = Request,
    responses(
        (status = 202, description = "The purge goes on by itself", body = Started),
        (status = 400, description = "`restrictive_filter_required` or `confirmation_required`"),
        (status = 409, description = "`too_many_matches` (with `matched` and `limit`) or `total_changed` (with `matched`)"),
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
        .map_err(CommandError::from)?
        .map(|project| project.no);
    let schema = app.schema(project).await?;
    let (filters, input) = call.input.split();
    let filter = filters.into_filter(&schema)?;
    let input = PurgeInput {
        filter: purge_filter(&filter),
        ..input
    };
    let limit = input.limit;
    let matching = matching(&app, project, filter, limit);
    let applied = app
        .directory()
        .purge_by_filter(&call.context, input, matching)
        .await?;
    let settled = app.settle(applied).await;
    let limited = limit.is_some();
    Ok(settled.answer(StatusCode::ACCEPTED, |started| {
        Started::of(started, limited)
    }))
}

/// Who matches, once reads show everything that was written so far.
async fn matching(
    app: &App,
    project: Option<i32>,
    filter: Filter,
    limit: Option<u64>,
) -> Result<Matched, ApiError> {
    let Some(project_no) = project else {
        return Ok(Matched::default());
    };
    app.caught_up(filter.search.is_some() || !filter.fields.is_empty())
        .await?;
    let most = limit.unwrap_or(LARGEST_PURGE);
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let pool = app.directory().cell().pool();
    let found = customers::matching(pool, project_no, &filter, most).await?;
    Ok(Matched {
        total: found.total,
        customers: found.customers,
    })
}

impl Request {
    /// The filters, and what else the request says.
    fn split(self) -> (Filters, PurgeInput) {
        let filters = Filters {
            search: self.search,
            enabled_only: self.enabled_only,
            disabled_only: self.disabled_only,
            data_source_kind: self.data_source_kind,
            data_source_provider: self.data_source_provider,
            data_source_connection_id: self.data_source_connection_id,
            updated_since: self.updated_since,
            fields: self.fields,
        };
        let input = PurgeInput {
            confirm_project_id: self.confirm_project_id,
            expected_total: self.expected_total,
            limit: self.limit,
            ..PurgeInput::default()
        };
        (filters, input)
    }
}
