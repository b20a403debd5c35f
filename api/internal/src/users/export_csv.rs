//! `users/export-csv`: the customers that pass a filter, as a CSV file that `users/import-csv` takes back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt};
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_domain::schema::{CUSTOMER_USER_ID, CompiledField};
use roster_domain::value::{Profile, Value, profile_from_json};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use roster_projections::customers::{self, CustomerRow};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::csv_file::{Form, InJson, answer, record};
use crate::fields::{self, Values};
use crate::filters::Filters;

/// Rows of one piece of the file.
const PIECE: usize = 256;

/// The filters of `users/list`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExportUsersRequest)]
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
    /// Whether cells that a spreadsheet would run get an apostrophe; such a file is not for importing.
    #[serde(default, deserialize_with = "fields::flag")]
    spreadsheet_safe: Option<bool>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ExportCsv;
    const EFFECT: Effect = Effect::Reads;

    fn searches(&self) -> bool {
        self.search.is_some() || self.fields.is_some()
    }
}

/// Export customers as CSV
///
/// `text/csv`, or `{csv}` with `Accept: application/json`. Columns: `customer_user_id`, the fields of the schema in order,
/// extra fields, `enabled`.
#[utoipa::path(
    post,
    path = "/users/export-csv",
    tag = "users",
    request_body = Request,
    responses((status = 200, description = "The file", content(
        (String = "text/csv"),
        (InJson = "application/json"),
    )))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    headers: HeaderMap,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let safe = input.spreadsheet_safe.unwrap_or(false);
    let cell = app.directory().cell();
    let project = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?;
    let schema = app
        .schema(project.as_ref().map(|project| project.no))
        .await?;
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
    let filter = filters.into_filter(&schema)?;
    let position = app.projections().position_of(&filter);
    let mut columns: Vec<String> = schema
        .fields()
        .map(CompiledField::name)
        .filter(|name| *name != CUSTOMER_USER_ID)
        .map(str::to_owned)
        .collect();
    if let Some(project) = &project {
        let known: Vec<&str> = schema
            .fields()
            .map(CompiledField::name)
            .chain([CUSTOMER_USER_ID])
            .collect();
        columns.extend(customers::extra_fields(cell.pool(), project.no, &known).await?);
    }
    let names = columns.iter().map(String::as_str);
    let header = record(
        [CUSTOMER_USER_ID]
            .into_iter()
            .chain(names)
            .chain(["enabled"]),
        safe,
    );
    let rows = project.map(|project| customers::export(cell.pool().clone(), project.no, filter));
    let rows = stream::iter(rows)
        .flatten()
        .map(|row| row.map_err(ApiError::from));
    let pieces = stream::iter([header]).chain(pieces(rows, columns.into(), safe));
    let name = format!("customers-{}.csv", call.context.scope.project_id);
    let answer = answer(&name, Form::of(&headers), pieces);
    Ok(app.complete_to(position, answer))
}

/// The rows as text, many to a piece.
fn pieces(
    rows: impl Stream<Item = Result<CustomerRow, ApiError>> + Send,
    columns: Arc<[String]>,
    safe: bool,
) -> impl Stream<Item = Result<String, ApiError>> + Send {
    rows.ready_chunks(PIECE).map(move |rows| {
        let mut text = String::new();
        for row in rows {
            text.push_str(&line(&row?, &columns, safe)?);
        }
        Ok(text)
    })
}

fn line(row: &CustomerRow, columns: &[String], safe: bool) -> Result<String, ApiError> {
    let profile: Profile = profile_from_json(&row.profile).unwrap_or_default();
    let cells = columns
        .iter()
        .map(|name| profile.get(name.as_str()).map_or("", Value::as_text));
    let enabled = if row.enabled { "true" } else { "false" };
    record(
        [row.customer_user_id.as_str()]
            .into_iter()
            .chain(cells)
            .chain([enabled]),
        safe,
    )
}
