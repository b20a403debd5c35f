//! `users/suppressions/list`: the ids that imports and syncs skip.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::suppressions;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields;
use crate::page::{Page, Wanted, cursor};

/// Which page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListSuppressionsRequest)]
pub(crate) struct Request {
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListSuppressions;
    const EFFECT: Effect = Effect::Reads;
}

/// A suppressed id.
#[derive(Serialize, ToSchema)]
#[schema(as = Suppression)]
pub(crate) struct Item {
    customer_user_id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// List suppressed ids
#[utoipa::path(
    post,
    path = "/users/suppressions/list",
    tag = "users",
    request_body = Request,
    responses((status = 200, description = "Oldest first", body = Page<Item>))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Wanted { page, page_size } = Wanted::new(call.input.page, call.input.page_size)?;
    let after = cursor(call.input.cursor.as_deref())?;
    let cell = app.directory().cell();
    let Some(project) = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?
    else {
        return Ok(respond::ok(&Page::<Item>::empty(page, page_size)));
    };
    let found = suppressions::list(cell, &project, after, page, page_size).await?;
    let items = found.rows.into_iter();
    Ok(respond::ok(&Page {
        items: items
            .map(|row| Item {
                customer_user_id: row.customer_user_id,
                created_at: row.created_at,
            })
            .collect(),
        total: Some(found.total),
        total_at_least: None,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}
