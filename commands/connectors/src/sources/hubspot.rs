//! `HubSpot` contacts. A full walk lists them by id; an incremental one searches in a fixed order of ids, since a search ends at its
//! ten-thousandth result and many contacts may share one time of change.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor, instant, word};

const CONTACTS: &str = "/crm/v3/objects/contacts";

/// `HubSpot`.
pub(crate) struct Hubspot {
    properties: Vec<String>,
    look_back: u64,
}

#[async_trait]
impl Vendor for Hubspot {
    fn provider() -> Provider {
        Provider {
            provider: "hubspot",
            name: "HubSpot",
            kind: ProviderKind::Crm,
            auth: vec![auth(
                "private_app",
                [secret("access_token", "Access token of a private app")],
            )],
            config_schema: json!({
                "type": "object",
                "properties": {
                    "look_back_minutes": {"type": "integer", "minimum": 0, "maximum": 10080, "default": 10},
                },
            }),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("properties.email", "email"),
                ("properties.firstname", "first_name"),
                ("properties.lastname", "last_name"),
            ],
            docs: "A private app with the scope crm.objects.contacts.read (crm.schemas.contacts.read lets a test check the mapping). \
                   Deleted and merged contacts are found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let mut properties = opening.wanted("properties");
        if properties.is_empty() {
            properties.extend(["email", "firstname", "lastname"]);
        }
        properties.extend(["hs_object_id", "lastmodifieddate"]);
        let properties: Vec<String> = properties.into_iter().map(ToOwned::to_owned).collect();
        if properties.iter().map(String::len).sum::<usize>() > 12_000 {
            return Err(vec![Problem::new(
                ["field_mapping"],
                "too_long",
                "HubSpot takes no more than 12,000 characters of properties",
            )]);
        }
        let source = Self {
            properties,
            look_back: opening.number("look_back_minutes") * 60,
        };
        let auth = Auth::Bearer(opening.secret("access_token").into());
        Ok((source, opening.api::<Self>("https://api.hubapi.com", auth)?))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let Some(since) = walk.since.as_ref().and_then(instant) else {
            return self.list(api, walk, place).await;
        };
        let mut filters = vec![json!({
            "propertyName": "lastmodifieddate", "operator": "GTE", "value": (since.0 / 1_000).to_string(),
        })];
        if let Some(last) = place.word() {
            filters.push(json!({"propertyName": "hs_object_id", "operator": "GT", "value": last}));
        }
        let size = walk.limit.unwrap_or(200).clamp(1, 200);
        let search = json!({
            "filterGroups": [{"filters": filters}],
            "sorts": ["hs_object_id"],
            "properties": self.properties,
            "limit": size,
            // Pages follow each other by id, so each search is asked for its beginning.
            "after": "0",
        });
        let mut answer = api.post(&format!("{CONTACTS}/search"), &search).await?;
        place.seen.begin(answer.at);
        let list = answer.list("results")?;
        let more = answer.json["total"].as_u64().unwrap_or(0) > list.len() as u64;
        let next = list
            .last()
            .filter(|_| more)
            .and_then(|last| word(last, "id"));
        let records = place.records(list, "id", "properties.lastmodifieddate")?;
        Ok(place.page(records, next, walk, self.look_back))
    }

    async fn paths(&mut self, api: &mut Api) -> Result<Option<Vec<String>>, SourceError> {
        let mut answer = match api.get("/crm/v3/properties/contacts", &[]).await {
            // The names of properties are another right, which reading contacts does not need.
            Err(SourceError::Forbidden(_)) => return Ok(None),
            answer => answer?,
        };
        let names = answer.list("results")?.into_iter();
        let names =
            names.filter_map(|property| Some(format!("properties.{}", word(&property, "name")?)));
        let own = ["id", "createdAt", "updatedAt", "archived", "url"].map(ToOwned::to_owned);
        Ok(Some(names.chain(own).collect()))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        match fault.status {
            429 if fault.is(&["DAILY"]) || fault.message.contains("daily") => {
                Some(SourceError::Quota(None))
            }
            // A token of the wrong form does not get as far as a 401.
            530 => Some(SourceError::Unauthorized(fault.message.clone())),
            _ => None,
        }
    }
}

impl Hubspot {
    /// A page of everything.
    async fn list(
        &self,
        api: &mut Api,
        walk: &Walk,
        mut place: Place,
    ) -> Result<Page, SourceError> {
        let size = walk.limit.unwrap_or(100).clamp(1, 100).to_string();
        let properties = self.properties.join(",");
        let mut query = vec![
            ("limit", size.as_str()),
            ("archived", "false"),
            ("properties", &properties),
        ];
        if let Some(after) = place.word() {
            query.push(("after", after));
        }
        let mut answer = api.get(CONTACTS, &query).await?;
        place.seen.begin(answer.at);
        let next = answer.word("paging.next.after").map(Value::String);
        let list = answer.list("results")?;
        let records = place.records(list, "id", "properties.lastmodifieddate")?;
        Ok(place.page(records, next, walk, self.look_back))
    }
}
