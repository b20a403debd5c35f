//! `users/import-csv`: customers from a CSV file, in the body of a JSON request or as a stream of its own.

use std::io;
use std::time::Duration;

use async_compression::tokio::bufread::GzipDecoder;
use axum::extract::{FromRequest, Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::TryStreamExt;
use roster_commands::authority::Operation;
use roster_commands::{Applied, Context, CsvProblem, ImportInput, ImportOptions, ImportStarted};
use roster_domain::Problem;
use roster_domain::import::{EmptyCells, ImportStatus, OnConflict};
use roster_http::{ApiError, App, Code, Effect, Endpoint, Scoped, ScopedStream, drain, has_type};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncRead};
use tokio_util::io::StreamReader;
use utoipa::ToSchema;
use uuid::Uuid;

use super::imports::{self, find, show};
use crate::fields;

/// How long a JSON request waits for its result.
const PATIENCE: Duration = Duration::from_secs(10);

/// The provider of the tag where none is given.
pub(crate) const PROVIDER: &str = "csv_file";

/// How a file is read; members of the body, or of the query of a streamed file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
    #[serde(default)]
    delimiter: Option<String>,
    on_conflict: Option<OnConflict>,
    empty_cells: Option<EmptyCells>,
    #[serde(default, deserialize_with = "fields::flag")]
    dry_run: Option<bool>,
}

/// A file and how it is read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportUsersRequest)]
pub(crate) struct Request {
    /// The text of the file.
    csv: Option<String>,
    /// The same under its other name.
    csv_text: Option<String>,
    /// The provider of the tag that rows get; `csv_file` where absent.
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
    /// One character; found out where absent.
    #[serde(default)]
    delimiter: Option<String>,
    /// `update` (the default) or `skip`: what happens to rows whose customer exists.
    #[schema(value_type = Option<String>)]
    on_conflict: Option<OnConflict>,
    /// `clear` (the default) or `keep`: what an empty cell means.
    #[schema(value_type = Option<String>)]
    empty_cells: Option<EmptyCells>,
    /// Whether nothing is written.
    #[serde(default, deserialize_with = "fields::flag")]
    dry_run: Option<bool>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ImportCsv;
    const EFFECT: Effect = Effect::Starts;
}

impl Endpoint for Options {
    const OPERATION: Operation = Operation::ImportCsv;
    const EFFECT: Effect = Effect::Starts;
}

impl Request {
    fn split(self) -> Result<(String, Options), ApiError> {
        let csv = match (self.csv, self.csv_text) {
            (Some(csv), None) | (None, Some(csv)) => csv,
            (None, None) => {
                return Err(ApiError::body(Problem::new(
                    ["csv"],
                    "missing",
                    "a required member is missing",
                )));
            }
            (Some(_), Some(_)) => {
                let message = "expected csv or csv_text, not both";
                return Err(ApiError::body(Problem::new(
                    ["csv_text"],
                    "ambiguous",
                    message,
                )));
            }
        };
        let options = Options {
            provider: self.provider,
            delimiter: self.delimiter,
            on_conflict: self.on_conflict,
            empty_cells: self.empty_cells,
            dry_run: self.dry_run,
        };
        Ok((csv, options))
    }
}

/// The byte of a delimiter's text; `None` where it is to be found out.
pub(crate) fn delimiter_of(text: Option<&str>) -> Result<Option<u8>, ApiError> {
    match text {
        None | Some("" | "auto") => Ok(None),
        Some("tab" | "\\t") => Ok(Some(b'\t')),
        Some(text) => match text.as_bytes() {
            [byte] => Ok(Some(*byte)),
            _ => Err(CsvProblem::Delimiter.into()),
        },
    }
}

impl Options {
    fn into_import(self) -> Result<ImportOptions, ApiError> {
        let delimiter = delimiter_of(self.delimiter.as_deref())?;
        Ok(ImportOptions {
            mapping: None,
            provider: self.provider.unwrap_or_else(|| PROVIDER.to_owned()),
            delimiter,
            on_conflict: self.on_conflict.unwrap_or_default(),
            empty_cells: self.empty_cells.unwrap_or_default(),
            dry_run: self.dry_run.unwrap_or(false),
        })
    }
}

/// An import that goes on.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportStarted)]
pub(crate) struct Started {
    import_id: Uuid,
    /// `pending` or `running`.
    status: &'static str,
}

/// Import customers from CSV
///
/// The text stands in `csv`; large files come with `Content-Type: text/csv`, optionally `Content-Encoding: gzip`, and
/// scope and options in the query. A JSON request is answered with the result where that is there within ten seconds.
#[utoipa::path(
    post,
    path = "/users/import-csv",
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
        streamed(&app, ScopedStream::from_request(request, &app).await?).await
    } else {
        posted(&app, Scoped::from_request(request, &app).await?).await
    }
}

async fn posted(app: &App, call: Scoped<Request>) -> Result<Response, ApiError> {
    let (csv, options) = call.input.split()?;
    take_text(app, &call.context, csv, options.into_import()?).await
}

/// Imports a text, and answers with the result where that is there soon.
pub(crate) async fn take_text(
    app: &App,
    context: &Context,
    csv: String,
    options: ImportOptions,
) -> Result<Response, ApiError> {
    let input = ImportInput {
        options,
        body: io::Cursor::new(csv.into_bytes()),
    };
    let applied = app.directory().start_import(context, input).await?;
    let id = applied.value.import_id;
    if !app
        .directory()
        .wait_for_import(context, id, PATIENCE)
        .await?
    {
        return accepted(app, context, applied).await;
    }
    // The rows were written after the import was started, so the answer waits for all of them.
    let settled = app.settle_all((), applied.replayed).await?;
    match show(app, context, id).await {
        Ok(answer) if ImportStatus::parse(answer.status).is_some_and(ImportStatus::is_final) => {
            Ok(settled.answer(StatusCode::OK, |()| answer))
        }
        // The read side is behind for longer than an answer waits.
        _ => accepted(app, context, applied).await,
    }
}

async fn streamed(app: &App, call: ScopedStream<Options>) -> Result<Response, ApiError> {
    take_stream(app, call, Options::into_import).await
}

/// Imports the body of a request as it comes.
pub(crate) async fn take_stream<O>(
    app: &App,
    call: ScopedStream<O>,
    options: impl FnOnce(O) -> Result<ImportOptions, ApiError> + Send,
) -> Result<Response, ApiError> {
    let ScopedStream {
        context,
        input,
        headers,
        body,
    } = call;
    let mut body = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let started = match options(input) {
        Ok(options) => start(app, &context, options, &headers, &mut body).await,
        Err(refused) => Err(refused),
    };
    if started.is_err() {
        drain(body.into_inner()).await;
    }
    accepted(app, &context, started?).await
}

async fn start(
    app: &App,
    context: &Context,
    options: ImportOptions,
    headers: &HeaderMap,
    plain: &mut (impl AsyncBufRead + Send + Unpin),
) -> Result<Applied<ImportStarted>, ApiError> {
    let body: Box<dyn AsyncRead + Send + Unpin + '_> = if is_gzip(headers)? {
        let mut decoder = GzipDecoder::new(plain);
        decoder.multiple_members(true);
        Box::new(decoder)
    } else {
        Box::new(plain)
    };
    let input = ImportInput { options, body };
    Ok(app.directory().start_import(context, input).await?)
}

async fn accepted(
    app: &App,
    context: &Context,
    applied: Applied<ImportStarted>,
) -> Result<Response, ApiError> {
    let settled = app.settle(applied).await;
    let import_id = settled.value.import_id;
    // The import is in the log, whether or not the read side shows it: without its id the caller would send it again.
    let shown = find(app, context, import_id).await;
    let status = shown.map_or(ImportStatus::Pending, |row| row.status);
    Ok(settled.answer(StatusCode::ACCEPTED, |_| Started {
        import_id,
        status: status.as_str(),
    }))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, ApiError> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(axum::http::HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => Err(ApiError::new(
            Code::UnsupportedMediaType,
            "the content encoding must be gzip or absent",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    fn read(json: &str) -> Result<(String, String, Option<u8>), String> {
        let request: Request = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let (csv, options) = request
            .split()
            .map_err(|error| error.detail().to_string())?;
        let options = options
            .into_import()
            .map_err(|error| error.detail().to_string())?;
        Ok((csv, options.provider, options.delimiter))
    }

    #[test]
    fn the_text_has_two_names_and_the_rest_has_defaults() {
        assert_eq!(
            read(r#"{"csv":"a"}"#),
            Ok(("a".into(), "csv_file".into(), None))
        );
        assert_eq!(
            read(r#"{"csv_text":"a","provider":"erp","delimiter":";"}"#),
            Ok(("a".into(), "erp".into(), Some(b';')))
        );
        assert_eq!(
            read(r#"{"csv":"","delimiter":"tab"}"#),
            Ok((String::new(), "csv_file".into(), Some(b'\t')))
        );
    }

    #[test]
    fn no_text_two_texts_and_odd_options_are_refused() {
        for json in [
            "{}",
            r#"{"csv":"a","csv_text":"b"}"#,
            r#"{"csv":"a","delimiter":"::"}"#,
            r#"{"csv":"a","on_conflict":"replace"}"#,
            r#"{"csv":"a","dryrun":true}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
