//! `users/list`: the customer index, filtered, searched and paged.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::{self, Cursor, Filter, Sort};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::fields::{self, Values};
use crate::filters::Filters;
use crate::page::{Page, Wanted};
use crate::record::Record;

/// Filters, order and page. A null or blank filter is absent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListUsersRequest)]
pub(crate) struct Request {
    /// A part of the id or of any value, without regard to case and accents; under 3 characters, the start of id or name.
    #[serde(default, deserialize_with = "fields::text")]
    search: Option<String>,
    #[serde(default, deserialize_with = "fields::flag")]
    enabled_only: Option<bool>,
    #[serde(default, deserialize_with = "fields::flag")]
    disabled_only: Option<bool>,
    /// `manual`, `csv`, `scim` or `directory_sync`.
    #[serde(default, deserialize_with = "fields::text")]
    data_source_kind: Option<String>,
    /// Such as `csv_file` or `hubspot`.
    #[serde(default, deserialize_with = "fields::text")]
    data_source_provider: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    data_source_connection_id: Option<String>,
    /// Only records that moved at this time or later.
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_since: Option<Timestamp>,
    /// Only customers with exactly these values, by field.
    #[schema(value_type = Option<Object>)]
    fields: Option<Values>,
    /// What orders the list; the id breaks every tie.
    sort: Option<By>,
    order: Option<Order>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`; good for the same filters and order only.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
    /// `exact`: count however many there are.
    count: Option<Count>,
}

/// What orders the list.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ListUsersSort)]
pub(crate) enum By {
    CustomerUserId,
    CreatedAt,
    UpdatedAt,
}

/// Which way round.
#[derive(Clone, Copy, Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ListUsersOrder)]
pub(crate) enum Order {
    Asc,
    Desc,
}

/// How `total` is counted.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ListUsersCount)]
pub(crate) enum Count {
    Exact,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListCustomers;
    const EFFECT: Effect = Effect::Reads;

    fn searches(&self) -> bool {
        self.search.is_some() || self.fields.is_some()
    }
}

/// List customers
#[utoipa::path(
    post,
    path = "/users/list",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "A page of the index", body = Page<Record>),
        (status = 422, description = "`invalid_cursor`, or findings"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let Wanted { page, page_size } = Wanted::new(input.page, input.page_size)?;
    let cursor = input
        .cursor
        .as_deref()
        .map(str::parse::<Cursor>)
        .transpose()?;
    let filters = Filters {
        search: input.search,
        enabled_only: input.enabled_only,
        disabled_only: input.disabled_only,
        data_source_kind: input.data_source_kind,
        data_source_provider: input.data_source_provider,
        data_source_connection_id: input.data_source_connection_id,
        updated_since: input.updated_since,
        fields: input.fields,
    };
    let cell = app.directory().cell();
    let project = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?;
    let schema = app
        .schema(project.as_ref().map(|project| project.no))
        .await?;
    let filter = Filter {
        sort: match input.sort {
            None | Some(By::CustomerUserId) => Sort::CustomerUserId,
            Some(By::CreatedAt) => Sort::CreatedAt,
            Some(By::UpdatedAt) => Sort::UpdatedAt,
        },
        descending: input.order == Some(Order::Desc),
        page,
        page_size,
        cursor,
        count_exact: input.count.is_some(),
        ..filters.into_filter(&schema)?
    };
    let Some(project) = project else {
        return Ok(respond::ok(&Page::<Record>::empty(page, page_size)));
    };
    let totals = app.projections().totals();
    let position = app.projections().position_of(&filter);
    let found = customers::list(cell.pool(), totals, project.no, &filter).await?;
    let items = found
        .rows
        .into_iter()
        .map(|row| Record::of_row(row, &schema))
        .collect::<Result<_, _>>()?;
    let answer = respond::ok(&Page {
        items,
        total: found.total,
        total_at_least: found.total_at_least,
        page,
        page_size,
        next_cursor: found.next_cursor.map(|next| next.to_string()),
    });
    Ok(app.complete_to(position, answer))
}
