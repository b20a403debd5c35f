//! `users/person-export`: everything that is known about one customer, as one document.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, FindBy, NotFound};
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::{self, AsOf};
use roster_projections::dispatches::{self, JournalFilter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::history::Item;
use crate::access::{AccessRow, Identity, shown};
use crate::audit::list::Item as Dispatch;
use crate::record::Record;

/// Dispatches that are read at once.
const DISPATCHES: i64 = 1_000;

/// Whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExportPersonRequest)]
pub(crate) struct Request {
    /// The id.
    customer_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ExportPerson;
    const EFFECT: Effect = Effect::Reads;
}

/// A person's data.
#[derive(Serialize, ToSchema)]
#[schema(as = PersonExport)]
pub(crate) struct Answer {
    #[schema(value_type = String, format = DateTime)]
    exported_at: Timestamp,
    /// The record as it is.
    record: Record,
    /// Connector identities that are linked to the person.
    identities: Vec<Identity>,
    /// What the person may use on which channel.
    channel_access: Vec<AccessRow>,
    /// Everything that happened, the first thing first.
    history: Vec<Item>,
    /// Which agents were dispatched for the person, the newest first, as far as records are kept.
    dispatches: Vec<Dispatch>,
}

/// Export everything about one customer
#[utoipa::path(
    post,
    path = "/users/person-export",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "Record and history", body = Answer),
        (status = 404, description = "`customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let project = project
        .map_err(CommandError::from)?
        .ok_or(NotFound::Customer)?;
    let by = FindBy::Id(call.input.customer_user_id);
    let found = app
        .directory()
        .find_customer(&call.context, Request::OPERATION, by)
        .await?;
    let stream = found.ok_or(NotFound::Customer)?;
    let schema = app.schema(Some(project.no)).await?;
    // Both from the log, so that neither is behind the other.
    let entries = customers::history(cell, &project, stream).await?;
    let last = entries.last().map_or(0, |entry| entry.position);
    let record = customers::record_as_of(cell, &project, stream, AsOf::Position(last)).await?;
    let (row, access) = record.ok_or(NotFound::Customer)?;
    let (identities, channel_access) = shown(&app, project.no, &row, access, &schema).await?;
    let history = entries.into_iter().map(Item::of);
    let mut dispatches = Vec::new();
    let mut after = None;
    loop {
        let filter = JournalFilter {
            customer_ref: Some(stream),
            limit: DISPATCHES,
            ..JournalFilter::default()
        };
        let page = dispatches::list(cell, &project, filter, after.as_ref()).await?;
        let rows = page.rows.into_iter().map(Dispatch::of);
        dispatches.extend(rows.collect::<Result<Vec<_>, _>>()?);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(respond::ok(&Answer {
        exported_at: app.clock().now(),
        record: Record::of_row(row, &schema)?,
        identities,
        channel_access,
        history: history.collect::<Result<_, _>>()?,
        dispatches,
    }))
}
