//! Zendesk users, by the incremental export: one endless stream of changes whose token is kept.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, Record, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, open, secret};
use crate::engine::{Api, Auth, Opening, Vendor, record, word};

/// Zendesk.
pub(crate) struct Zendesk {
    every_role: bool,
}

#[async_trait]
impl Vendor for Zendesk {
    fn provider() -> Provider {
        Provider {
            provider: "zendesk",
            name: "Zendesk",
            kind: ProviderKind::Helpdesk,
            auth: vec![
                auth(
                    "api_token",
                    [
                        open("email", "E-mail of an admin"),
                        secret("api_token", "API token"),
                    ],
                ),
                auth("oauth", [secret("access_token", "Access token")]),
            ],
            config_schema: json!({
                "type": "object",
                "required": ["subdomain"],
                "properties": {
                    "subdomain": {"type": "string", "pattern": "^[A-Za-z0-9-]+$"},
                    "roles": {"type": "string", "enum": ["end-user", "all"], "default": "end-user"},
                },
            }),
            incremental: true,
            detects_deletes: true,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("name", "name"),
                ("phone", "phone"),
            ],
            docs: "The API token of an admin, or an OAuth token with users:read of one. Changes of the last minute come with the next run.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let auth = match opening.kind() {
            "oauth" => Auth::Bearer(opening.secret("access_token").into()),
            _ => Auth::Basic(
                format!("{}/token", opening.secret("email")),
                opening.secret("api_token").into(),
            ),
        };
        let base = format!("https://{}.zendesk.com", opening.text("subdomain"));
        let source = Self {
            every_role: opening.text("roles") == "all",
        };
        Ok((source, opening.api::<Self>(&base, auth)?))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let token = walk
            .place
            .as_ref()
            .or(walk.since.as_ref())
            .and_then(Value::as_str);
        let size = walk.limit.unwrap_or(1_000).clamp(1, 1_000).to_string();
        let from = token.map_or(("start_time", "0"), |token| ("cursor", token));
        let query = [from, ("per_page", size.as_str())];
        let mut answer = api
            .get("/api/v2/incremental/users/cursor.json", &query)
            .await?;
        let end = answer.json["end_of_stream"] == true;
        // The end of the stream may come without a token: then the last one stays good.
        let next = answer.word("after_cursor").map(Value::String);
        if !end && next.is_none() {
            return Err(SourceError::Answer(
                "a page that is not the last has no after_cursor".into(),
            ));
        }
        let mut records = Vec::new();
        for user in answer.list("users")? {
            if self.every_role || word(&user, "role").is_none_or(|role| role == "end-user") {
                let deleted = user["active"] == false;
                records.push(Record {
                    deleted,
                    ..record(user, "id")?
                });
            }
        }
        Ok(Page {
            records,
            place: next.clone().filter(|_| !end),
            cursor: next,
        })
    }
}
