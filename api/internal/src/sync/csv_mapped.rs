//! `import/csv-mapped`: customers from a CSV file whose columns the request names.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request as HttpRequest, State};
use axum::response::Response;
use roster_commands::ImportOptions;
use roster_commands::authority::Operation;
use roster_commands::import::ColumnMapping;
use roster_domain::Problem;
use roster_domain::import::{EmptyCells, OnConflict};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, ScopedStream, has_type};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::fields;
use crate::users::import_csv::{PROVIDER, Started, delimiter_of, take_stream, take_text};
use crate::users::imports;

/// A file and which of its columns is which field.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportMappedCsvRequest)]
pub(crate) struct Request {
    /// The text of the file.
    csv: String,
    /// Fields by the column's name, or by its number from 1 where there is no header. Other columns are ignored.
    mapping: BTreeMap<String, String>,
    /// One character; found out where absent.
    #[serde(default)]
    delimiter: Option<String>,
    /// Whether the first record names the columns; it does where absent.
    #[serde(default, deserialize_with = "fields::flag")]
    has_header: Option<bool>,
    /// `update` (the default) or `skip`: what happens to rows whose customer exists.
    #[schema(value_type = Option<String>)]
    on_conflict: Option<OnConflict>,
    /// Whether nothing is written.
    #[serde(default, deserialize_with = "fields::flag")]
    dry_run: Option<bool>,
    /// The provider of the tag that rows get; `csv_file` where absent.
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
}

/// The same in the query of a streamed file; the mapping is JSON text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    mapping: String,
    #[serde(default)]
    delimiter: Option<String>,
    has_header: Option<bool>,
    on_conflict: Option<OnConflict>,
    dry_run: Option<bool>,
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ImportMappedCsv;
    const EFFECT: Effect = Effect::Starts;
}

impl Endpoint for Options {
    const OPERATION: Operation = Operation::ImportMappedCsv;
    const EFFECT: Effect = Effect::Starts;
}

impl Request {
    fn split(self) -> Result<(String, ImportOptions), ApiError> {
        let options = ImportOptions {
            provider: self.provider.unwrap_or_else(|| PROVIDER.to_owned()),
            delimiter: delimiter_of(self.delimiter.as_deref())?,
            on_conflict: self.on_conflict.unwrap_or_default(),
            empty_cells: EmptyCells::default(),
            dry_run: self.dry_run.unwrap_or(false),
            mapping: Some(ColumnMapping {
                fields: self.mapping,
                has_header: self.has_header.unwrap_or(true),
            }),
        };
        Ok((self.csv, options))
    }
}

impl Options {
    fn into_import(self) -> Result<ImportOptions, ApiError> {
        let mapping = serde_json::from_str(&self.mapping).map_err(|_| {
            let message = "expected a JSON object of columns and fields";
            ApiError::body(Problem::new(["mapping"], "malformed", message))
        })?;
        let request = Request {
            csv: String::new(),
            mapping,
            delimiter: self.delimiter,
            has_header: self.has_header,
            on_conflict: self.on_conflict,
            dry_run: self.dry_run,
            provider: self.provider,
        };
        request.split().map(|(_, options)| options)
    }
}

/// Import customers from CSV with named columns
///
/// As `users/import-csv`, whose options are the same otherwise; an unknown field is refused. A large file comes with
/// `Content-Type: text/csv`, and scope, options and the mapping as JSON text in the query.
#[utoipa::path(
    post,
    path = "/import/csv-mapped",
    tag = "imports",
    request_body(content((Request = "application/json"), (String = "text/csv"))),
    responses(
        (status = 200, description = "The result", body = imports::Answer),
        (status = 202, description = "The file is staged, the import goes on by itself", body = Started),
        (status = 400, description = "`csv_invalid`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    if has_type(request.headers(), "text/csv") {
        let call = ScopedStream::<Options>::from_request(request, &app).await?;
        take_stream(&app, call, Options::into_import).await
    } else {
        let call = Scoped::<Request>::from_request(request, &app).await?;
        let (csv, options) = call.input.split()?;
        take_text(&app, &call.context, csv, options).await
    }
}
