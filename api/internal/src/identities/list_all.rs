//! `identities/list-all`: every identity of a project.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::Cursor;
use roster_projections::identities::{IdentityFilter, IdentityRow, list};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields;
use crate::page::{self, Page, Wanted, invalid_cursor};

/// Which page of which identities.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListAllIdentitiesRequest)]
pub(crate) struct Request {
    /// On this channel only.
    #[serde(default, deserialize_with = "fields::text")]
    channel: Option<String>,
    /// Part of the identity or of the customer's id; under three characters the beginning of one.
    #[serde(default, deserialize_with = "fields::text")]
    search: Option<String>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListAllIdentities;
    const EFFECT: Effect = Effect::Reads;
}

/// A connector identity and its customer.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkedIdentity)]
pub(crate) struct Item {
    channel: String,
    /// The normalised external user id.
    external_user_id: String,
    customer_user_id: String,
    customer_ref: Uuid,
    /// `manual`, `admin`, `profile` or `auto`.
    linked_by: &'static str,
    #[schema(value_type = String, format = DateTime)]
    linked_at: Timestamp,
}

impl From<IdentityRow> for Item {
    fn from(row: IdentityRow) -> Self {
        Self {
            channel: row.channel,
            external_user_id: row.external_user_id,
            customer_user_id: row.customer_user_id,
            customer_ref: row.customer_ref,
            linked_by: row.linked_by.as_str(),
            linked_at: row.linked_at,
        }
    }
}

/// List every identity of a project
#[utoipa::path(
    post,
    path = "/identities/list-all",
    tag = "identities",
    request_body = Request,
    responses(
        (status = 200, description = "By channel and identity", body = Page<Item>),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let Wanted { page, page_size } = Wanted::new(input.page, input.page_size)?;
    let search = page::search(input.search)?;
    let cursor: Option<Cursor> = match input.cursor {
        Some(text) => Some(text.parse().map_err(|_| invalid_cursor())?),
        None => None,
    };
    let cell = app.directory().cell();
    let project = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?;
    let schema = app
        .schema(project.as_ref().map(|project| project.no))
        .await?;
    let channel = input.channel.map(|channel| schema.channel(&channel));
    let filter = IdentityFilter {
        channel: channel.transpose().map_err(ApiError::body)?,
        search,
    };
    let Some(project) = project else {
        return Ok(respond::ok(&Page::<Item>::empty(page, page_size)));
    };
    let after = cursor.as_ref();
    let found = list(cell.pool(), project.no, &filter, after, page, page_size).await?;
    Ok(respond::ok(&Page {
        items: found.rows.into_iter().map(Item::from).collect(),
        total: found.total,
        total_at_least: found.total_at_least,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}
