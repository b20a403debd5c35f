//! Intercom contacts. Its search counts times of change in days, so it is asked from two days before, and what is older than the cursor
//! is dropped here.

use std::time::Duration;

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor, instant, word};

/// Two days, in seconds.
const DAYS: i64 = 2 * 86_400;
/// Changes are asked for again for so long, in seconds: new contacts come into the search minutes late.
const LOOK_BACK: u64 = 900;

/// Intercom.
pub(crate) struct Intercom;

#[async_trait]
impl Vendor for Intercom {
    fn provider() -> Provider {
        Provider {
            provider: "intercom",
            name: "Intercom",
            kind: ProviderKind::Helpdesk,
            auth: vec![auth(
                "access_token",
                [secret("access_token", "Access token")],
            )],
            config_schema: json!({
                "type": "object",
                "properties": {"region": {"type": "string", "enum": ["us", "eu", "au"], "default": "us"}},
            }),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("name", "name"),
                ("phone", "phone"),
            ],
            docs: "The access token of an app that may read users and leads. Deleted and merged contacts are found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let base = match opening.text("region") {
            "eu" => "https://api.eu.intercom.io",
            "au" => "https://api.au.intercom.io",
            _ => "https://api.intercom.io",
        };
        let auth = Auth::Bearer(opening.secret("access_token").into());
        let api = opening
            .api::<Self>(base, auth)?
            .with("intercom-version", "2.13");
        Ok((Self, api))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let since = walk.since.as_ref().and_then(instant);
        let size = walk.limit.unwrap_or(150).clamp(1, 150);
        let mut answer = if let Some(since) = since {
            let from = since.0.div_euclid(1_000_000) - DAYS;
            let mut pagination = json!({"per_page": size});
            if let Some(after) = place.word() {
                pagination["starting_after"] = json!(after);
            }
            let search = json!({
                "query": {"operator": "AND", "value": [{"field": "updated_at", "operator": ">", "value": from}]},
                "sort": {"field": "updated_at", "order": "ascending"},
                "pagination": pagination,
            });
            api.post("/contacts/search", &search).await?
        } else {
            let size = size.to_string();
            let mut query = vec![("per_page", size.as_str())];
            query.extend(place.word().map(|after| ("starting_after", after)));
            api.get("/contacts", &query).await?
        };
        place.seen.begin(answer.at);
        let next = answer.word("pages.next.starting_after").map(Value::String);
        let mut list = answer.list("data")?;
        list.retain(|contact| instant(&contact["updated_at"]) >= since);
        for contact in &mut list {
            if let Some(name) = word(contact, "name") {
                contact["name"] = Value::String(unescaped(&name));
            }
        }
        let records = place.records(list, "id", "updated_at")?;
        Ok(place.page(records, next, walk, LOOK_BACK))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        if fault.status != 429 || fault.wait.is_some() {
            return None;
        }
        let reset = fault
            .header("x-ratelimit-reset")
            .and_then(|at| i64::try_from(at).ok());
        let seconds = reset.map(|at| at - fault.at.0 / 1_000_000);
        let pause = seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds < 3_600);
        Some(SourceError::Throttled(pause.map(Duration::from_secs)))
    }
}

/// Names come escaped for a web page.
fn unescaped(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
