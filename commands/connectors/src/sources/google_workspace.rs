//! Users of Google Workspace, by the Directory API: it cannot say what changed, so every run reads all of them.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, open, secret};
use crate::engine::{Api, Auth, Fault, Opening, Place, Vendor};

const SCOPE: &str = "https://www.googleapis.com/auth/admin.directory.user.readonly";

/// Google Workspace.
pub(crate) struct GoogleWorkspace {
    customer: String,
    suspended_are_gone: bool,
}

#[async_trait]
impl Vendor for GoogleWorkspace {
    fn provider() -> Provider {
        Provider {
            provider: "google_workspace",
            name: "Google Workspace",
            kind: ProviderKind::Idp,
            auth: vec![auth(
                "service_account",
                [
                    secret(
                        "service_account_key",
                        "Key file of a service account (JSON)",
                    ),
                    open("subject", "Admin to act for"),
                ],
            )],
            config_schema: json!({
                "type": "object",
                "properties": {
                    "customer": {"type": "string", "pattern": "^[A-Za-z0-9_]+$", "default": "my_customer"},
                    "suspended": {"type": "string", "enum": ["keep", "deleted"], "default": "keep"},
                },
            }),
            incremental: false,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("primaryEmail", "email"),
                ("name.givenName", "first_name"),
                ("name.familyName", "last_name"),
                ("phones.0.value", "phone"),
            ],
            docs: "A service account with domain-wide delegation for the scope admin.directory.user.readonly, and an admin in whose name it \
                   reads. Every run reads all users; `suspended: deleted` treats suspended and archived ones as deleted.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let auth = Auth::service_account(
            opening.secret("service_account_key"),
            "service_account_key",
            opening.secret("subject"),
            SCOPE,
            opening.outbound.base("google_workspace"),
        )?;
        let source = Self {
            customer: opening.text("customer").into(),
            suspended_are_gone: opening.text("suspended") == "deleted",
        };
        Ok((
            source,
            opening.api::<Self>("https://admin.googleapis.com", auth)?,
        ))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let size = walk.limit.unwrap_or(500).clamp(1, 500).to_string();
        let mut query = vec![
            ("customer", self.customer.as_str()),
            ("maxResults", &size),
            ("orderBy", "email"),
            ("projection", "full"),
        ];
        query.extend(place.word().map(|token| ("pageToken", token)));
        let mut answer = api.get("/admin/directory/v1/users", &query).await?;
        let next = answer.word("nextPageToken").map(Value::String);
        // A directory without users has no list at all.
        let list = if answer.json["users"].is_null() {
            Vec::new()
        } else {
            answer.list("users")?
        };
        let mut records = place.records(list, "id", "")?;
        if self.suspended_are_gone {
            for user in &mut records {
                let says = |name| user.fields.get(name).is_some_and(|flag| flag == true);
                user.deleted = says("suspended") || says("archived");
            }
        }
        Ok(place.page(records, next, walk, 0))
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        let daily = fault.is(&["dailyLimitExceeded"])
            || fault.status == 429 && fault.message.contains("per day");
        if daily {
            return Some(SourceError::Quota(None));
        }
        let busy = fault.is(&[
            "quotaExceeded",
            "rateLimitExceeded",
            "userRateLimitExceeded",
        ]);
        (busy && fault.status == 403).then_some(SourceError::Throttled(fault.wait))
    }
}
