//! `schema/preparation/get`: how far a uniqueness check is.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, NotFound};
use roster_domain::Timestamp;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::preparations;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::page::id_or;

/// Duplicates in an answer; cleaning up starts with any of them.
const SAMPLE: usize = 20;

/// Which check.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetPreparationRequest)]
pub(crate) struct Request {
    /// From the refusal of `schema/upsert`.
    preparation_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetPreparation;
    const EFFECT: Effect = Effect::Reads;
}

/// A uniqueness check.
#[derive(Serialize, ToSchema)]
#[schema(as = Preparation)]
pub(crate) struct Answer {
    /// The check.
    preparation_id: Uuid,
    /// `running`, `ready`, `duplicates` or `failed`.
    status: String,
    /// 0 to 100.
    progress_pct: i16,
    /// The fields that are checked.
    fields: Vec<String>,
    /// Pairs of customers with the same value.
    duplicates_sample: Vec<Duplicate>,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// Two customers with the same value of a field, by their opaque references.
#[derive(Serialize, ToSchema)]
#[schema(as = PreparationDuplicate)]
pub(crate) struct Duplicate {
    field: String,
    customer_ref: Uuid,
    holder_ref: Uuid,
}

/// Read the progress of a uniqueness check
#[utoipa::path(
    post,
    path = "/schema/preparation/get",
    tag = "schema",
    request_body = Request,
    responses(
        (status = 200, description = "The check", body = Answer),
        (status = 404, description = "`preparation_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let id = id_or(&call.input.preparation_id, NotFound::Preparation)?;
    let cell = app.directory().cell();
    let project = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?;
    let project = project.ok_or(NotFound::Preparation)?;
    let row = preparations::get(cell.pool(), project.no, id)
        .await?
        .ok_or(NotFound::Preparation)?;
    let duplicates = row.duplicates.into_iter().take(SAMPLE);
    Ok(respond::ok(&Answer {
        preparation_id: row.preparation_id,
        status: row.status,
        progress_pct: row.progress_pct,
        fields: row.fields,
        duplicates_sample: duplicates
            .map(|found| Duplicate {
                field: found.field,
                customer_ref: found.customer_ref,
                holder_ref: found.holder_ref,
            })
            .collect(),
        created_at: row.created_at,
        finished_at: row.finished_at,
    }))
}
