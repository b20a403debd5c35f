//! `users/delete-preview`: how many customers a purge by filter would be of, and some of them.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_domain::purge::LARGEST_PURGE;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::{self, Filter};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::purge::purge_filter;
use crate::fields::{self, Values};
use crate::filters::Filters;
use crate::record::Record;

/// Customers in an answer.
const SAMPLE: u32 = 10;

/// The filters of `users/list`, at least a search or a data source. A body of `users/list` can be sent as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PreviewDeleteRequest)]
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
    const OPERATION: Operation = Operation::PreviewPurge;
    const EFFECT: Effect = Effect::Reads;
}

/// Whom a purge would be of.
#[derive(Serialize, ToSchema)]
#[schema(as = PreviewDeleteResponse)]
pub(crate) struct Answer {
    /// How many.
    total: u64,
    /// The first of them by id, at most ten.
    sample: Vec<Record>,
    /// Whether they are more than one purge takes.
    exceeds_limit: bool,
}

/// Count the customers of a purge by filter
#[utoipa::path(
    post,
    path = "/users/delete-preview",
    tag = "purges",
    request_body = Request,
    responses(
        (status = 200, description = "How many, and some of them", body = Answer),
        (status = 400, description = "`restrictive_filter_required`"),
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
        .map_err(CommandError::from)?;
    let schema = app
        .schema(project.as_ref().map(|project| project.no))
        .await?;
    let filter = call.input.filters().into_filter(&schema)?;
    let wanted = purge_filter(&filter);
    app.directory().preview_purge(&call.context, &wanted)?;
    let Some(project) = project else {
        return Ok(respond::ok(&Answer {
            total: 0,
            sample: Vec::new(),
            exceeds_limit: false,
        }));
    };
    app.caught_up(!wanted.sought.is_empty()).await?;
    let filter = Filter {
        page_size: SAMPLE,
        count_exact: true,
        ..filter
    };
    let totals = app.projections().totals();
    let found = customers::list(cell.pool(), totals, project.no, &filter).await?;
    let sample = found.rows.into_iter();
    let sample = sample.map(|row| Record::of_row(row, &schema));
    let total = u64::try_from(found.total.unwrap_or_default()).unwrap_or_default();
    Ok(respond::ok(&Answer {
        total,
        sample: sample.collect::<Result<_, _>>()?,
        exceeds_limit: total > LARGEST_PURGE,
    }))
}

impl Request {
    fn filters(self) -> Filters {
        Filters {
            search: self.search,
            enabled_only: self.enabled_only,
            disabled_only: self.disabled_only,
            data_source_kind: self.data_source_kind,
            data_source_provider: self.data_source_provider,
            data_source_connection_id: self.data_source_connection_id,
            updated_since: self.updated_since,
            fields: self.fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn the_members_of_a_list_are_taken_and_a_misspelt_filter_is_not() {
        let body = r#"{"search":"a","page":0,"page_size":"x","sort":7,"order":null,"cursor":[]}"#;
        assert!(serde_json::from_str::<Request>(body).is_ok());
        assert!(serde_json::from_str::<Request>(r#"{"serach":"a"}"#).is_err());
    }
}
