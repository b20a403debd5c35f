//! `users/history`: what happened to one customer, the newest first.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_domain::Timestamp;
use roster_domain::value::{Value, value_json};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::{self, HistoryEntry};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::audit::events::list::Actor;
use crate::page::{Page, Wanted, invalid_cursor};
use crate::{fields, whom};

/// Whose history, by exactly one of both, and which page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetHistoryRequest)]
pub(crate) struct Request {
    /// The id.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// The opaque reference, which also names a customer who was erased.
    #[serde(default, deserialize_with = "fields::text")]
    customer_ref: Option<String>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetHistory;
    const EFFECT: Effect = Effect::Reads;
}

/// One thing that happened to a customer.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryEvent)]
pub(crate) struct Item {
    /// Its place in the log.
    position: i64,
    /// Its place in the customer's past, from 1.
    version: i32,
    /// Such as `customer.updated`.
    #[serde(rename = "type")]
    event_type: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    actor: Actor,
    changes: Vec<Change>,
}

/// One part of the record before and after.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryChange)]
pub(crate) struct Change {
    /// A path into the record, such as `profile.email`.
    field: String,
    /// Null where there was none, or where it was erased.
    #[schema(value_type = Option<Object>)]
    old: Option<Box<RawValue>>,
    /// Null where there is none, or where it was erased.
    #[schema(value_type = Option<Object>)]
    new: Option<Box<RawValue>>,
}

impl Item {
    /// An event as the read side folded it.
    pub(crate) fn of(entry: HistoryEntry) -> Result<Self, ApiError> {
        let raw = |value: Option<Value>| {
            let json = value.as_ref().map(value_json);
            json.map(RawValue::from_string)
                .transpose()
                .map_err(ApiError::internal)
        };
        let changes = entry.changes.into_iter().map(|changed| {
            Ok(Change {
                field: changed.field,
                old: raw(changed.old)?,
                new: raw(changed.new)?,
            })
        });
        Ok(Self {
            position: entry.position,
            version: entry.version,
            event_type: entry.event_type,
            at: entry.recorded_at.into(),
            actor: Actor {
                principal: entry.actor,
                subject: entry.subject,
            },
            changes: changes.collect::<Result<_, ApiError>>()?,
        })
    }
}

/// Read the history of a customer
#[utoipa::path(
    post,
    path = "/users/history",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "The newest first", body = Page<Item>),
        (status = 404, description = "`customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let Wanted { page, page_size } = Wanted::new(input.page, input.page_size)?;
    let cursor = input.cursor.as_deref().map(str::parse).transpose();
    let before: Option<i32> = cursor.map_err(|_| invalid_cursor())?;
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let project = project
        .map_err(CommandError::from)?
        .ok_or(NotFound::Customer)?;
    let reference = input.customer_ref.as_deref();
    let stream = whom::stream(
        &app,
        &call.context,
        Request::OPERATION,
        input.customer_user_id,
        reference,
    )
    .await?;
    let stream = stream.ok_or(NotFound::Customer)?;
    let mut entries = customers::history(cell, &project, stream).await?;
    if entries.is_empty() {
        return Err(NotFound::Customer.into());
    }
    let total = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    entries.reverse();
    let size = usize::try_from(page_size).unwrap_or(usize::MAX);
    let start = match before {
        Some(before) => entries.partition_point(|entry| entry.version >= before),
        None => size.saturating_mul(usize::try_from(page - 1).unwrap_or(usize::MAX)),
    };
    let more = entries.len() > start.saturating_add(size);
    let wanted = entries.into_iter().skip(start).take(size).map(Item::of);
    let items = wanted.collect::<Result<Vec<_>, _>>()?;
    let last = items.last().filter(|_| more);
    Ok(respond::ok(&Page {
        next_cursor: last.map(|item| item.version.to_string()),
        items,
        total: Some(total),
        total_at_least: None,
        page,
        page_size,
    }))
}
