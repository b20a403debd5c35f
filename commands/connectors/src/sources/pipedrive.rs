//! Pipedrive persons (API v2).

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor, instant, seconds};

/// Changes are asked for again for so long, in seconds.
const LOOK_BACK: u64 = 60;

/// Pipedrive.
pub(crate) struct Pipedrive {
    custom: String,
}

#[async_trait]
impl Vendor for Pipedrive {
    fn provider() -> Provider {
        Provider {
            provider: "pipedrive",
            name: "Pipedrive",
            kind: ProviderKind::Crm,
            auth: vec![auth("api_token", [secret("api_token", "API token")])],
            config_schema: json!({"type": "object", "properties": {}}),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("emails.0.value", "email"),
                ("first_name", "first_name"),
                ("last_name", "last_name"),
                ("phones.0.value", "phone"),
            ],
            docs: "The API token of a person who sees all persons. Custom fields are read by their key, as `custom_fields.<key>`. \
                   Deleted persons are found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let custom: Vec<&str> = opening.wanted("custom_fields").into_iter().collect();
        if custom.len() > 15 {
            return Err(vec![Problem::new(
                ["field_mapping"],
                "too_long",
                "Pipedrive gives at most 15 custom fields at once",
            )]);
        }
        let source = Self {
            custom: custom.join(","),
        };
        let name = reqwest::header::HeaderName::from_static("x-api-token");
        let auth = Auth::Header(name, opening.secret("api_token").into());
        Ok((
            source,
            opening.api::<Self>("https://api.pipedrive.com", auth)?,
        ))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let size = walk.limit.unwrap_or(500).clamp(1, 500).to_string();
        let since = walk.since.as_ref().and_then(instant).map(seconds);
        let mut query = vec![("limit", size.as_str()), ("sort_direction", "asc")];
        query.push((
            "sort_by",
            if since.is_some() { "update_time" } else { "id" },
        ));
        let optional = [
            ("updated_since", since.as_deref()),
            ("cursor", place.word()),
            (
                "custom_fields",
                Some(self.custom.as_str()).filter(|keys| !keys.is_empty()),
            ),
        ];
        query.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let mut answer = api.get("/api/v2/persons", &query).await?;
        place.seen.begin(answer.at);
        let next = answer
            .word("additional_data.next_cursor")
            .map(Value::String);
        let list = answer.list("data")?;
        let records = place.records(list, "id", "update_time")?;
        Ok(place.page(records, next, walk, LOOK_BACK))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        match fault.status {
            429 if fault.header("x-daily-ratelimit-token-remaining") == Some(0) => {
                Some(SourceError::Quota(None))
            }
            429 if fault.wait.is_none() => {
                let reset = fault
                    .header("x-ratelimit-reset")
                    .filter(|seconds| *seconds < 60);
                Some(SourceError::Throttled(
                    reset.map(std::time::Duration::from_secs),
                ))
            }
            _ => None,
        }
    }
}
