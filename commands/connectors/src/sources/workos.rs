//! Users of a WorkOS directory. A full walk lists them; an incremental one reads the events since, which know of deletions.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, Record, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor, record, word};

/// Events are asked for again for so long, in seconds.
const LOOK_BACK: u64 = 300;

/// WorkOS.
pub(crate) struct Workos {
    directory: String,
}

#[async_trait]
impl Vendor for Workos {
    fn provider() -> Provider {
        Provider {
            provider: "workos",
            name: "WorkOS Directory Sync",
            kind: ProviderKind::Idp,
            auth: vec![auth("api_key", [secret("api_key", "API key")])],
            config_schema: json!({
                "type": "object",
                "required": ["directory_id"],
                "properties": {"directory_id": {"type": "string", "pattern": "^directory_[A-Za-z0-9]+$"}},
            }),
            incremental: true,
            detects_deletes: true,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("first_name", "first_name"),
                ("last_name", "last_name"),
            ],
            docs: "An API key of the environment that holds the directory. Events are kept for 30 days; after a longer pause a run reads \
                   everything.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let source = Self {
            directory: opening.text("directory_id").into(),
        };
        let auth = Auth::Bearer(opening.secret("api_key").into());
        Ok((source, opening.api::<Self>("https://api.workos.com", auth)?))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let size = walk.limit.unwrap_or(100).clamp(1, 100).to_string();
        let mut query = vec![("limit", size.as_str())];
        query.extend(place.word().map(|after| ("after", after)));
        let since = walk.since.as_ref().and_then(Value::as_str);
        let mut answer = if let Some(since) = since {
            query.extend(["created", "updated", "deleted"].map(|what| match what {
                "created" => ("events[]", "dsync.user.created"),
                "updated" => ("events[]", "dsync.user.updated"),
                _ => ("events[]", "dsync.user.deleted"),
            }));
            if place.word().is_none() {
                query.push(("range_start", since));
            }
            api.get("/events", &query).await?
        } else {
            query.extend([("directory", self.directory.as_str()), ("order", "asc")]);
            api.get("/directory_users", &query).await?
        };
        place.seen.begin(answer.at);
        let next = answer.word("list_metadata.after").map(Value::String);
        let list = answer.list("data")?;
        let records = match since {
            Some(_) => self.events(&mut place, list)?,
            None => place.records(list, "id", "updated_at")?,
        };
        Ok(place.page(records, next, walk, LOOK_BACK))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        let old = matches!(fault.status, 400 | 404 | 422) && fault.message.contains("range_start");
        old.then(|| SourceError::CursorGone(fault.message.clone()))
    }
}

impl Workos {
    /// What became of the users whom events tell of: the last word about each.
    fn events(&self, place: &mut Place, events: Vec<Value>) -> Result<Vec<Record>, SourceError> {
        let mut users: Vec<Record> = Vec::new();
        for mut event in events {
            place.seen.note(event.get("created_at"));
            let user = event["data"].take();
            if word(&user, "directory_id").is_some_and(|directory| directory != self.directory) {
                continue;
            }
            let mut user = record(user, "id")?;
            user.deleted = event["event"] == "dsync.user.deleted";
            users.retain(|known| known.id != user.id);
            users.push(user);
        }
        Ok(users)
    }
}
