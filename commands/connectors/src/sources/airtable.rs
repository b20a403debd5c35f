//! A table of an Airtable base. Its list is an iterator that expires; changes can be asked for where the table has a field that says
//! when a row was last modified.

use std::time::Duration;

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::api::segment;
use crate::engine::describe::{auth, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor, instant, seconds, word};

/// Changes are asked for again for so long, in seconds.
const LOOK_BACK: u64 = 60;
/// Whoever asks too fast is locked out for so long.
const LOCK_OUT: Duration = Duration::from_secs(30);

/// Airtable.
pub(crate) struct Airtable {
    base: String,
    table: String,
    view: String,
    modified: String,
    fields: Vec<String>,
}

#[async_trait]
impl Vendor for Airtable {
    fn provider() -> Provider {
        Provider {
            provider: "airtable",
            name: "Airtable",
            kind: ProviderKind::Sheet,
            auth: vec![auth(
                "personal_access_token",
                [secret("token", "Personal access token")],
            )],
            config_schema: json!({
                "type": "object",
                "required": ["base_id", "table"],
                "properties": {
                    "base_id": {"type": "string", "pattern": "^app[A-Za-z0-9]+$"},
                    "table": {"type": "string", "minLength": 1},
                    "view": {"type": "string", "default": ""},
                    "modified_field": {"type": "string", "pattern": "^[^{}]*$", "default": ""},
                },
            }),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("fields.Email", "email"),
                ("fields.Name", "name"),
            ],
            docs: "A personal access token with data.records:read for the base (schema.bases:read lets a test check the mapping). Runs are \
                   incremental where `modified_field` names a last-modified-time field; deleted rows are found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let mut fields = opening.wanted("fields");
        let modified = opening.text("modified_field");
        if !modified.is_empty() && !fields.is_empty() {
            fields.insert(modified);
        }
        let source = Self {
            base: opening.text("base_id").into(),
            table: opening.text("table").into(),
            view: opening.text("view").into(),
            modified: modified.into(),
            fields: fields.into_iter().map(ToOwned::to_owned).collect(),
        };
        let auth = Auth::Bearer(opening.secret("token").into());
        Ok((
            source,
            opening.api::<Self>("https://api.airtable.com", auth)?,
        ))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let since = walk
            .since
            .as_ref()
            .filter(|_| !self.modified.is_empty())
            .and_then(instant);
        let mut ask = json!({"pageSize": walk.limit.unwrap_or(100).clamp(1, 100)});
        if !self.fields.is_empty() {
            ask["fields"] = json!(self.fields);
        }
        if !self.view.is_empty() {
            ask["view"] = json!(self.view);
        }
        if let Some(since) = since {
            // `IS_AFTER` leaves the instant itself out.
            let after = seconds(since.plus_seconds(-1));
            ask["filterByFormula"] = json!(format!("IS_AFTER({{{}}}, '{after}')", self.modified));
        }
        if let Some(offset) = place.word() {
            ask["offset"] = json!(offset);
        }
        let path = format!("/v0/{}/{}/listRecords", self.base, segment(&self.table));
        let mut answer = api.post(&path, &ask).await?;
        place.seen.begin(answer.at);
        let next = answer.word("offset").map(Value::String);
        let list = answer.list("records")?;
        let changed = if self.modified.is_empty() {
            String::new()
        } else {
            format!("fields.{}", self.modified)
        };
        let records = place.records(list, "id", &changed)?;
        Ok(place.page(records, next, walk, LOOK_BACK))
    }

    async fn paths(&mut self, api: &mut Api) -> Result<Option<Vec<String>>, SourceError> {
        let mut answer = match api
            .get(&format!("/v0/meta/bases/{}/tables", self.base), &[])
            .await
        {
            // The schema is another right, which reading rows does not need.
            Err(SourceError::Forbidden(_)) => return Ok(None),
            answer => answer?,
        };
        let tables = answer.list("tables")?;
        let table = tables
            .iter()
            .find(|table| table["id"] == self.table || table["name"] == self.table);
        let fields = table
            .and_then(|table| table["fields"].as_array())
            .into_iter()
            .flatten();
        let names = fields.filter_map(|field| Some(format!("fields.{}", word(field, "name")?)));
        Ok(Some(
            names.chain(["id".into(), "createdTime".into()]).collect(),
        ))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        match fault.status {
            422 if fault.code.contains("ITERATOR") => {
                Some(SourceError::PlaceGone(fault.message.clone()))
            }
            429 if fault.code.contains("BILLING_LIMIT") => Some(SourceError::Quota(None)),
            429 => Some(SourceError::Throttled(Some(fault.wait.unwrap_or(LOCK_OUT)))),
            _ => None,
        }
    }
}
