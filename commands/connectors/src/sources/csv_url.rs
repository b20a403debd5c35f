//! A CSV file behind a URL: asked for conditionally, unpacked and decoded on its way, a page of rows at a time.
//!
//! The download goes on between pages. Another session that goes on later begins the download again and compares what it passes.

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, LAST_MODIFIED};
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use super::http_json::{authentication, keys};
use crate::engine::table::Table;
use crate::engine::{Api, Opening, Vendor, word};
use crate::outbound::Ask;

/// Rows of a page.
const ROWS: usize = 1_000;

/// A CSV file.
pub(crate) struct CsvUrl {
    url: Url,
    delimiter: Option<u8>,
    encoding: String,
    id_column: String,
    open: Option<Download>,
}

/// A file on its way.
struct Download {
    table: Table,
    /// What the next run asks with.
    validators: Option<Value>,
}

#[async_trait]
impl Vendor for CsvUrl {
    fn provider() -> Provider {
        Provider {
            provider: "csv_url",
            name: "CSV by URL",
            kind: ProviderKind::File,
            auth: keys(),
            config_schema: json!({
                "type": "object",
                "required": ["url"],
                "properties": {
                    "url": {"type": "string", "pattern": "^https?://"},
                    "delimiter": {"type": "string", "enum": ["auto", ",", ";", "\t", "|"], "default": "auto"},
                    "encoding": {"type": "string", "enum": ["auto", "windows-1252"], "default": "auto"},
                    "id_column": {"type": "string", "default": ""},
                },
            }),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("name", "name"),
            ],
            docs: "A URL that answers the file itself, not a page to log in. A run costs nothing while the file's ETag or date stays the \
                   same; removed rows are found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let url = Url::parse(opening.text("url"))
            .map_err(|error| Opening::problem("url", error.to_string()))?;
        let (auth, _) = authentication(opening)?;
        let api = opening.api::<Self>(url.as_str(), auth)?;
        // A tab is white space, so it is not read as a text.
        let delimiter = opening
            .value("delimiter")
            .as_str()
            .filter(|word| *word != "auto");
        let source = Self {
            url,
            delimiter: delimiter.and_then(|word| word.bytes().next()),
            encoding: opening.text("encoding").into(),
            id_column: opening.text("id_column").into(),
            open: None,
        };
        Ok((source, api))
    }

    /// A place is `{rows, digest}`: how many rows were read, and what they were.
    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let (rows, digest) = walk.place.as_ref().map_or((0, None), |place| {
            (
                place["rows"].as_u64().unwrap_or_default(),
                word(place, "digest"),
            )
        });
        let here = self
            .open
            .take()
            .filter(|open| rows > 0 && open.table.rows() == rows);
        let mut download = if let Some(open) = here {
            open
        } else {
            let Some(mut open) = self.download(api, walk).await? else {
                return Ok(Page::default());
            };
            open.table.skip(rows).await?;
            open
        };
        if digest.is_some_and(|digest| digest != download.table.digest()) {
            return Err(SourceError::PlaceGone(
                "the file changed while it was read".into(),
            ));
        }
        let most = walk.limit.unwrap_or(ROWS).clamp(1, ROWS);
        let records = download.table.records(most, &self.id_column).await?;
        if download.table.is_over() {
            return Ok(Page {
                records,
                place: None,
                cursor: download.validators,
            });
        }
        let place = json!({"rows": download.table.rows(), "digest": download.table.digest()});
        self.open = Some(download);
        Ok(Page {
            records,
            place: Some(place),
            cursor: None,
        })
    }

    async fn paths(&mut self, api: &mut Api) -> Result<Option<Vec<String>>, SourceError> {
        let download = self.download(api, &Walk::default()).await?;
        Ok(download.map(|download| download.table.names().to_vec()))
    }
}

impl CsvUrl {
    /// Begins the download; `None` where the file is the one that the last run read.
    async fn download(&self, api: &mut Api, walk: &Walk) -> Result<Option<Download>, SourceError> {
        let mut ask = Ask::get(self.url.clone()).with("accept", "text/csv, text/plain, */*");
        if let (Some(since), None) = (&walk.since, &walk.place) {
            if let Some(tag) = word(since, "etag") {
                ask = ask.with("if-none-match", &tag);
            }
            if let Some(date) = word(since, "modified") {
                ask = ask.with("if-modified-since", &date);
            }
        }
        let opened = api.stream(ask).await?;
        if opened.status.as_u16() == 304 {
            return Ok(None);
        }
        if text(&opened.headers, &CONTENT_TYPE).is_some_and(|kind| kind.contains("html")) {
            return Err(web_page());
        }
        let (tag, modified) = (
            text(&opened.headers, &ETAG),
            text(&opened.headers, &LAST_MODIFIED),
        );
        let known = tag.is_some() || modified.is_some();
        let validators = known.then(|| json!({"etag": tag, "modified": modified}));
        let table = Table::begin(opened.body, self.delimiter, &self.encoding).await?;
        if table.looks_like_a_web_page() {
            return Err(web_page());
        }
        Ok(Some(Download { table, validators }))
    }
}

fn text(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn web_page() -> SourceError {
    SourceError::Config(
        "the URL answers a web page instead of a file: it may ask for a login".into(),
    )
}
