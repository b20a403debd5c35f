//! CSV files as answers: streamed piece by piece, as a download or as the one member of a JSON object.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use roster_http::ApiError;
use utoipa::ToSchema;

/// What a caller wants a file as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `text/csv`.
    Download,
    /// `{"csv": "…"}`.
    Json,
}

impl Form {
    /// JSON where the `Accept` header names it, before it names CSV.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = |part: &str| {
            part.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        };
        let first = accept
            .split(',')
            .map(essence)
            .find(|part| part == "application/json" || part == "text/csv");
        if first.as_deref() == Some("application/json") {
            Self::Json
        } else {
            Self::Download
        }
    }
}

/// One record as text, with the line break. With `spreadsheet_safe` no cell is run by a spreadsheet.
pub(crate) fn record<'a>(
    cells: impl IntoIterator<Item = &'a str>,
    spreadsheet_safe: bool,
) -> Result<String, ApiError> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    for cell in cells {
        // OWASP's list of what starts a formula.
        if spreadsheet_safe && cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            writer
                .write_field(format!("'{cell}"))
                .map_err(ApiError::internal)?;
        } else {
            writer.write_field(cell).map_err(ApiError::internal)?;
        }
    }
    writer
        .write_record(None::<&[u8]>)
        .map_err(ApiError::internal)?;
    let bytes = writer
        .into_inner()
        .map_err(|_| ApiError::internal("a record was not written"))?;
    String::from_utf8(bytes).map_err(ApiError::internal)
}

/// A file in a JSON answer.
#[derive(ToSchema)]
#[schema(as = CsvFile)]
#[expect(dead_code, reason = "it is described here, and written piece by piece")]
pub(crate) struct InJson {
    csv: String,
}

/// The file. A failure on the way breaks the connection, so that half a file never passes for a whole one.
pub(crate) fn answer<S>(name: &str, form: Form, pieces: S) -> Response
where
    S: Stream<Item = Result<String, ApiError>> + Send + 'static,
{
    let pieces = pieces.inspect(|piece| {
        if let Err(error) = piece {
            error.log();
        }
    });
    let broken = |_| std::io::Error::other("the file could not be read to its end");
    let (kind, body) = match form {
        Form::Download => (
            "text/csv; charset=utf-8",
            Body::from_stream(pieces.map(move |piece| piece.map(Bytes::from).map_err(broken))),
        ),
        Form::Json => {
            let inside =
                pieces.map(move |piece| piece.map_err(broken).and_then(|piece| escaped(&piece)));
            let start = stream::iter([Ok(Bytes::from_static(b"{\"csv\":\""))]);
            let end = stream::iter([Ok(Bytes::from_static(b"\"}"))]);
            (
                "application/json",
                Body::from_stream(start.chain(inside).chain(end)),
            )
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    if let (Form::Download, Ok(disposition)) = (form, disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// A piece of text as the inside of a JSON text.
fn escaped(piece: &str) -> Result<Bytes, std::io::Error> {
    let text = serde_json::to_string(piece)?;
    let inside = 1..text.len() - 1;
    Ok(Bytes::from(text).slice(inside))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::{HeaderMap, HeaderValue, header};
    use futures::stream;

    use super::{Form, answer, record};

    fn form(accept: &'static str) -> Form {
        Form::of(&HeaderMap::from_iter([(
            header::ACCEPT,
            HeaderValue::from_static(accept),
        )]))
    }

    #[test]
    fn a_download_unless_json_is_asked_for() {
        assert_eq!(Form::of(&HeaderMap::new()), Form::Download);
        assert_eq!(form("*/*"), Form::Download);
        assert_eq!(form("text/csv, application/json"), Form::Download);
        assert_eq!(form("Application/JSON;q=0.9, */*"), Form::Json);
    }

    #[test]
    fn cells_are_quoted_and_made_safe_on_demand() {
        assert_eq!(
            record(["a\"b", "c,d", "x\ny", ""], false).ok().as_deref(),
            Some("\"a\"\"b\",\"c,d\",\"x\ny\",\n")
        );
        assert_eq!(
            record(["=1+1", "+49", "a=b"], true).ok().as_deref(),
            Some("'=1+1,'+49,a=b\n")
        );
    }

    #[tokio::test]
    async fn both_forms_hold_the_same_text() {
        let pieces = || stream::iter(["a,b\n".to_owned(), "\"ä\"\"\",2\n".to_owned()].map(Ok));
        let download = answer("x.csv", Form::Download, pieces());
        assert_eq!(
            download.headers()[header::CONTENT_DISPOSITION],
            "attachment; filename=\"x.csv\""
        );
        let text = to_bytes(download.into_body(), 1024).await.expect("a body");
        let json = to_bytes(answer("x.csv", Form::Json, pieces()).into_body(), 1024)
            .await
            .expect("a body");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(json["csv"].as_str().map(str::as_bytes), Some(text.as_ref()));
    }
}
