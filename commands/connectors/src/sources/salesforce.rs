//! Salesforce contacts or leads, by SOQL. Its cursor over a result is a snapshot that expires; deleted records come with the changes.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::json;

use crate::engine::describe::{auth, open, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor, instant, seconds, word};

/// Changes are asked for again for so long, in seconds: transactions commit later than they are stamped.
const LOOK_BACK: u64 = 600;

/// Salesforce.
pub(crate) struct Salesforce {
    object: String,
    version: String,
    fields: String,
}

#[async_trait]
impl Vendor for Salesforce {
    fn provider() -> Provider {
        Provider {
            provider: "salesforce",
            name: "Salesforce",
            kind: ProviderKind::Crm,
            auth: vec![auth(
                "client_credentials",
                [
                    open("client_id", "Consumer key"),
                    secret("client_secret", "Consumer secret"),
                ],
            )],
            config_schema: json!({
                "type": "object",
                "required": ["domain"],
                "properties": {
                    "domain": {"type": "string", "pattern": "^[A-Za-z0-9-]+(\\.sandbox|\\.develop|\\.scratch)?$"},
                    "object": {"type": "string", "enum": ["Contact", "Lead"], "default": "Contact"},
                    "api_version": {"type": "string", "pattern": "^v[0-9]{2}\\.0$", "default": "v59.0"},
                },
            }),
            incremental: true,
            detects_deletes: true,
            default_mapping: vec![
                ("Id", "customer_user_id"),
                ("Email", "email"),
                ("FirstName", "first_name"),
                ("LastName", "last_name"),
                ("Phone", "phone"),
            ],
            docs: "A connected app with the client-credentials flow, the scope `api` and a run-as user who may read the object. Deletions \
                   come from the recycle bin (15 days); what was purged from it is found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let domain = format!("https://{}.my.salesforce.com", opening.text("domain"));
        let base = opening.base(&domain).map_err(|problem| vec![problem])?;
        let url = base
            .join("/services/oauth2/token")
            .map_err(|error| Opening::problem("domain", error.to_string()))?;
        let (id, secret) = (opening.secret("client_id"), opening.secret("client_secret"));
        let plain = |path: &&String| {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
            path.bytes().all(letters)
        };
        let mut fields: Vec<&str> = opening
            .paths()
            .iter()
            .filter(plain)
            .map(String::as_str)
            .collect();
        if fields.is_empty() {
            fields.extend(["Email", "FirstName", "LastName", "Phone"]);
        }
        fields.extend(["Id", "SystemModstamp", "IsDeleted"]);
        fields.sort_unstable();
        fields.dedup();
        let source = Self {
            object: opening.text("object").into(),
            version: opening.text("api_version").into(),
            fields: fields.join(","),
        };
        Ok((
            source,
            opening.api::<Self>(&domain, Auth::client(url, id, secret, ""))?,
        ))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let mut answer = if let Some(next) = place.word() {
            api.follow(next).await?
        } else {
            let (fields, object) = (&self.fields, &self.object);
            let since = walk.since.as_ref().and_then(instant);
            let (resource, condition) = match since {
                Some(since) => (
                    "queryAll",
                    format!(" WHERE SystemModstamp >= {}", seconds(since)),
                ),
                None => ("query", String::new()),
            };
            let limit = walk
                .limit
                .map(|limit| format!(" LIMIT {limit}"))
                .unwrap_or_default();
            let soql = format!(
                "SELECT {fields} FROM {object}{condition} ORDER BY SystemModstamp ASC, Id ASC{limit}"
            );
            let path = format!("/services/data/{}/{resource}", self.version);
            api.get(&path, &[("q", &soql)]).await?
        };
        place.seen.begin(answer.at);
        let next = answer
            .word("nextRecordsUrl")
            .filter(|_| answer.json["done"] != true);
        let list = answer.list("records")?;
        let mut records = place.records(list, "Id", "SystemModstamp")?;
        for record in &mut records {
            record.deleted = record
                .fields
                .get("IsDeleted")
                .is_some_and(|deleted| deleted == true);
            record.fields.remove("attributes");
        }
        Ok(place.page(records, next, walk, LOOK_BACK))
    }

    async fn paths(&mut self, api: &mut Api) -> Result<Option<Vec<String>>, SourceError> {
        let path = format!(
            "/services/data/{}/sobjects/{}/describe",
            self.version, self.object
        );
        let mut answer = api.get(&path, &[]).await?;
        let fields = answer.list("fields")?;
        let names = fields.iter().flat_map(|field| {
            let related = word(field, "relationshipName");
            [word(field, "name"), related].into_iter().flatten()
        });
        Ok(Some(names.collect()))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        let message = fault.message.clone();
        match fault.code.as_str() {
            "REQUEST_LIMIT_EXCEEDED" => Some(SourceError::Quota(None)),
            "INVALID_SESSION_ID" => Some(SourceError::Unauthorized(message)),
            "INVALID_QUERY_LOCATOR" => Some(SourceError::PlaceGone(message)),
            _ if matches!(fault.status, 406 | 420) => Some(SourceError::Transient(message)),
            _ => None,
        }
    }
}
