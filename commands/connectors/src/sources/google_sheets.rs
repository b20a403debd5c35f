//! A tab of a Google spreadsheet, read in blocks of rows. A sheet has no cursor and no pages: each block comes with the header and
//! the last row of the block before, so that rows which moved in between are noticed.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, Record, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Map, Value, json};

use crate::engine::api::segment;
use crate::engine::describe::{auth, optional, secret};
use crate::engine::{Api, Auth, Fault, Opening, Vendor, at, columns, word};

const SCOPE: &str = "https://www.googleapis.com/auth/spreadsheets.readonly";
/// Rows of a block.
const BLOCK: u64 = 2_000;

/// Google Sheets.
pub(crate) struct GoogleSheets {
    spreadsheet: String,
    tab: String,
    header_row: u64,
    id_column: String,
    values: String,
}

#[async_trait]
impl Vendor for GoogleSheets {
    fn provider() -> Provider {
        Provider {
            provider: "google_sheets",
            name: "Google Sheets",
            kind: ProviderKind::Sheet,
            auth: vec![
                auth(
                    "service_account",
                    [
                        secret(
                            "service_account_key",
                            "Key file of a service account (JSON)",
                        ),
                        optional("subject", "Person to act for"),
                    ],
                ),
                auth("api_key", [secret("api_key", "API key")]),
            ],
            config_schema: json!({
                "type": "object",
                "required": ["spreadsheet_id"],
                "properties": {
                    "spreadsheet_id": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                    "tab": {"type": "string", "default": ""},
                    "header_row": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1},
                    "id_column": {"type": "string", "default": ""},
                    "values": {"type": "string", "enum": ["formatted", "unformatted"], "default": "formatted"},
                },
            }),
            incremental: false,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("name", "name"),
            ],
            docs: "A service account with the Sheets API switched on, to whose address the sheet is shared for reading; or an API key \
                   for a sheet that everyone with the link may read. Every run reads all rows.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let auth = match opening.kind() {
            "api_key" => Auth::Query("key".into(), opening.secret("api_key").into()),
            _ => Auth::service_account(
                opening.secret("service_account_key"),
                "service_account_key",
                opening.secret("subject"),
                SCOPE,
                opening.outbound.base("google_sheets"),
            )?,
        };
        let source = Self {
            spreadsheet: opening.text("spreadsheet_id").into(),
            tab: opening.text("tab").into(),
            header_row: opening.number("header_row"),
            id_column: opening.text("id_column").into(),
            values: format!("{}_VALUE", opening.text("values").to_uppercase()),
        };
        Ok((
            source,
            opening.api::<Self>("https://sheets.googleapis.com", auth)?,
        ))
    }

    /// A place is `{tab, rows, next, last}`: the tab, its rows when the walk began, the first row not yet read, and the row before it.
    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let (tab, rows, next, last) = if let Some(place) = &walk.place {
            let number = |name: &str| place[name].as_u64().unwrap_or_default();
            let tab = word(place, "tab").unwrap_or_default();
            (
                tab,
                number("rows"),
                number("next"),
                Some(place["last"].clone()),
            )
        } else {
            let (tab, rows) = self.tab(api).await?;
            (tab, rows, self.header_row + 1, None)
        };
        let size = walk
            .limit
            .map_or(BLOCK, |limit| (limit as u64).clamp(1, BLOCK));
        let to = (next + size - 1).min(rows);
        let header_row = self.header_row;
        let mut ranges = vec![range(&tab, header_row, header_row.min(rows))];
        if next <= rows {
            ranges.push(range(
                &tab,
                if last.is_some() { next - 1 } else { next },
                to,
            ));
        }
        let mut query: Vec<(&str, &str)> = ranges
            .iter()
            .map(|range| ("ranges", range.as_str()))
            .collect();
        query.extend([
            ("majorDimension", "ROWS"),
            ("valueRenderOption", &self.values),
            ("dateTimeRenderOption", "FORMATTED_STRING"),
        ]);
        let path = format!("/v4/spreadsheets/{}/values:batchGet", self.spreadsheet);
        let answer = api.get(&path, &query).await?;
        let columns = names(at(&answer.json, "valueRanges.0.values.0"));
        let empty = Vec::new();
        let block = at(&answer.json, "valueRanges.1.values")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        let mut lines = block.as_slice();
        if let Some(last) = &last {
            let before = lines.first().cloned().unwrap_or_else(|| json!([]));
            if *last != json!([columns, before]) {
                return Err(SourceError::PlaceGone(
                    "the sheet changed while it was read".into(),
                ));
            }
            lines = lines.get(1..).unwrap_or_default();
        }
        let mut records = Vec::with_capacity(lines.len());
        for (number, line) in (next..).zip(lines) {
            records.extend(self.record(&columns, line, number));
        }
        let end = to >= rows;
        // Trailing empty rows of a block are left out of the answer.
        let last = if lines.len() as u64 == to + 1 - next.min(to + 1) {
            lines.last()
        } else {
            None
        };
        let last = json!([columns, last.unwrap_or(&json!([]))]);
        Ok(Page {
            records,
            place: (!end).then(|| json!({"tab": tab, "rows": rows, "next": to + 1, "last": last})),
            cursor: None,
        })
    }

    async fn paths(&mut self, api: &mut Api) -> Result<Option<Vec<String>>, SourceError> {
        let (tab, _) = self.tab(api).await?;
        let range = segment(&range(&tab, self.header_row, self.header_row));
        let path = format!("/v4/spreadsheets/{}/values/{range}", self.spreadsheet);
        let answer = api.get(&path, &[]).await?;
        let names = names(at(&answer.json, "values.0"));
        Ok(Some(
            names.into_iter().filter(|name| !name.is_empty()).collect(),
        ))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        match fault.status {
            400 if fault.message.contains("API key") => {
                Some(SourceError::Unauthorized(fault.message.clone()))
            }
            429 if fault.message.contains("per day") => Some(SourceError::Quota(None)),
            _ => None,
        }
    }
}

impl GoogleSheets {
    /// The title of the tab and its rows: the one that is named, else the first that is not hidden.
    async fn tab(&self, api: &mut Api) -> Result<(String, u64), SourceError> {
        let path = format!("/v4/spreadsheets/{}", self.spreadsheet);
        let mut answer = api.get(&path, &[("fields", "sheets.properties")]).await?;
        let tabs = answer.list("sheets")?;
        let found = tabs.iter().map(|tab| &tab["properties"]).find(|tab| {
            if self.tab.is_empty() {
                tab["hidden"] != true
            } else {
                tab["title"] == self.tab
            }
        });
        let tab = found.ok_or_else(|| {
            SourceError::Config(format!("the spreadsheet has no tab {}", self.tab))
        })?;
        let rows = at(tab, "gridProperties.rowCount")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        Ok((word(tab, "title").unwrap_or_default(), rows))
    }

    /// A row under its column names; empty rows are none. Its id is the cell of the id column, by default the first.
    fn record(&self, columns: &[String], line: &Value, number: u64) -> Option<Record> {
        let cells = line.as_array()?;
        let blank = |cell: &Value| {
            cell.is_null() || cell.as_str().is_some_and(|text| text.trim().is_empty())
        };
        if cells.iter().all(blank) {
            return None;
        }
        let named = columns
            .iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty());
        let fields: Map<String, Value> = named
            .map(|(index, name)| {
                let cell = cells.get(index).filter(|cell| !blank(cell));
                (name.clone(), cell.cloned().unwrap_or(Value::Null))
            })
            .collect();
        let id_column = Some(&self.id_column)
            .filter(|name| !name.is_empty())
            .or_else(|| columns.first());
        let id = id_column.and_then(|name| match fields.get(name)? {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        Some(Record {
            id: id.unwrap_or_else(|| format!("row {number}")),
            fields,
            ..Record::default()
        })
    }
}

/// Whole rows of a tab.
fn range(tab: &str, from: u64, to: u64) -> String {
    format!("'{}'!{from}:{to}", tab.replace('\'', "''"))
}

/// The names of the columns.
fn names(header: Option<&Value>) -> Vec<String> {
    let cells = header.and_then(Value::as_array).into_iter().flatten();
    columns(cells.map(|cell| word(cell, "").unwrap_or_default()))
}
