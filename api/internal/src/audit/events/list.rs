//! `audit/events/list`: who changed what in a project, the newest first.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::event::StoredEvent;
use roster_domain::{Problem, Timestamp, customer::CustomerEvent, registry};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::audit::{self, AuditFilter, AuditRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields;
use crate::page::{Page, Wanted, invalid_cursor};
use crate::whom::{self, Whose};

/// Filters and page. A null or blank filter is absent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListAuditEventsRequest)]
pub(crate) struct Request {
    /// `system`, `token`, or `api_key:` and the public id of a key.
    #[serde(default, deserialize_with = "fields::text")]
    actor: Option<String>,
    /// Such as `customer.updated`.
    #[serde(default, rename = "type", deserialize_with = "fields::text")]
    event_type: Option<String>,
    /// Events about the customer who has this id now.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// Events about this customer, who may be erased.
    #[serde(default, deserialize_with = "fields::text")]
    customer_ref: Option<String>,
    /// Only events of this time or later.
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Only events before this time.
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListAuditEvents;
    const EFFECT: Effect = Effect::Reads;

    fn audits(&self) -> bool {
        true
    }
}

/// An event of the project.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(crate) struct Item {
    /// Its place in the log.
    position: i64,
    #[serde(rename = "type")]
    event_type: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    actor: Actor,
    /// The opaque id of what the event is about: a customer, an import, the schema.
    source: Uuid,
    /// The same where it is a customer.
    customer_ref: Option<Uuid>,
    /// Null where the customer was erased.
    customer_user_id: Option<String>,
    /// Paths into the record that an update changed.
    changed_fields: Vec<String>,
}

/// Who acted.
#[derive(Serialize, ToSchema)]
#[schema(as = EventActor)]
pub(crate) struct Actor {
    /// `system`, `token`, or `api_key:` and the public id of a key.
    pub(crate) principal: String,
    /// The `sub` of the token; null where the person that the event is about was erased.
    pub(crate) subject: Option<String>,
}

impl From<AuditRow> for Item {
    fn from(row: AuditRow) -> Self {
        let is_customer = CustomerEvent::TYPES
            .iter()
            .any(|known| known.name == row.event_type);
        Self {
            position: row.position,
            event_type: row.event_type,
            at: row.recorded_at.into(),
            actor: Actor {
                principal: row.actor,
                subject: row.subject,
            },
            source: row.stream,
            customer_ref: is_customer.then_some(row.stream),
            customer_user_id: row.customer_user_id,
            changed_fields: row.changed_fields,
        }
    }
}

/// List audit events
#[utoipa::path(
    post,
    path = "/audit/events/list",
    tag = "audit",
    request_body = Request,
    responses(
        (status = 200, description = "The newest first", body = Page<Item>),
        (status = 422, description = "`invalid_cursor`, or findings"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let Wanted { page, page_size } = Wanted::new(input.page, input.page_size)?;
    let cursor = input.cursor.as_deref().map(str::parse).transpose();
    let before: Option<i64> = cursor.map_err(|_| invalid_cursor())?;
    if let Some(name) = &input.event_type
        && registry::numbers_of(name).is_empty()
    {
        let message = "no event has this type";
        return Err(ApiError::body(Problem::new(["type"], "enum", message)));
    }
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let empty = Page::<Item>::empty(page, page_size);
    let Some(project) = project.map_err(CommandError::from)? else {
        return Ok(respond::ok(&empty));
    };
    let (id, reference) = (input.customer_user_id, input.customer_ref.as_deref());
    let whose = whom::filtered(&app, &call.context, Request::OPERATION, id, reference);
    let stream = match whose.await? {
        Whose::Everybodys => None,
        Whose::Of(stream) => Some(stream),
        Whose::Nobodys => return Ok(respond::ok(&empty)),
    };
    let filter = AuditFilter {
        actor: input.actor,
        event_type: input.event_type,
        stream,
        from: input.from.map(Timestamp::to_utc),
        to: input.to.map(Timestamp::to_utc),
        before,
        offset: i64::from(page - 1) * i64::from(page_size),
        limit: i64::from(page_size),
    };
    let position = app.projections().audit_position();
    let found = audit::list(cell, &project, &filter).await?;
    let answer = respond::ok(&Page {
        items: found.rows.into_iter().map(Item::from).collect(),
        total: found.total,
        total_at_least: found.total_at_least,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    });
    Ok(app.complete_to(position, answer))
}
