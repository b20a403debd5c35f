//! Users of Microsoft Entra, by the delta query of Microsoft Graph: its links are followed as they are, the last one is the cursor.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::describe::{auth, open, secret};
use crate::engine::{Api, Auth, Fault, Opening, Vendor, record, word};

/// Microsoft Graph.
pub(crate) struct MicrosoftGraph {
    select: String,
}

#[async_trait]
impl Vendor for MicrosoftGraph {
    fn provider() -> Provider {
        Provider {
            provider: "microsoft_graph",
            name: "Microsoft Entra (Graph)",
            kind: ProviderKind::Idp,
            auth: vec![auth(
                "client_credentials",
                [
                    open("client_id", "Application id"),
                    secret("client_secret", "Client secret"),
                ],
            )],
            config_schema: json!({
                "type": "object",
                "required": ["tenant_id"],
                "properties": {"tenant_id": {"type": "string", "pattern": "^[A-Za-z0-9.-]+$"}},
            }),
            incremental: true,
            detects_deletes: true,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("givenName", "first_name"),
                ("surname", "last_name"),
                ("mobilePhone", "phone"),
            ],
            docs: "An app registration with the application permission User.Read.All and an admin's consent. `email` is `mail`, or \
                   `userPrincipalName` where nobody set one. A cursor lives for seven days; after that a run reads everything.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let plain = |name: &&str| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let mut select = opening.wanted("");
        select.remove("email");
        select.retain(plain);
        if select.is_empty() {
            select.extend([
                "displayName",
                "givenName",
                "surname",
                "mobilePhone",
                "accountEnabled",
            ]);
        }
        select.extend(["id", "mail", "userPrincipalName"]);
        let select: Vec<&str> = select.into_iter().collect();
        let source = Self {
            select: select.join(","),
        };
        let login = opening
            .base("https://login.microsoftonline.com")
            .and_then(|base| {
                let token = format!("/{}/oauth2/v2.0/token", opening.text("tenant_id"));
                base.join(&token).map_err(|error| {
                    Problem::new(["config", "tenant_id"], "invalid_format", error.to_string())
                })
            })
            .map_err(|problem| vec![problem])?;
        let (id, secret) = (opening.secret("client_id"), opening.secret("client_secret"));
        let auth = Auth::client(login, id, secret, "https://graph.microsoft.com/.default");
        Ok((
            source,
            opening.api::<Self>("https://graph.microsoft.com", auth)?,
        ))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let link = walk
            .place
            .as_ref()
            .or(walk.since.as_ref())
            .and_then(Value::as_str);
        let read = match link {
            Some(link) => api.follow(link).await,
            None => {
                api.get("/v1.0/users/delta", &[("$select", &self.select)])
                    .await
            }
        };
        let mut answer = match read {
            Err(SourceError::CursorGone(message)) if walk.since.is_none() => {
                return Err(SourceError::PlaceGone(message));
            }
            answer => answer?,
        };
        let mut records = Vec::new();
        for mut user in answer.list("value")? {
            let deleted = !user["@removed"].is_null();
            if let Some(email) = word(&user, "mail").or_else(|| word(&user, "userPrincipalName")) {
                user["email"] = Value::String(email);
            }
            let mut user = record(user, "id")?;
            user.deleted = deleted;
            records.push(user);
        }
        Ok(Page {
            records,
            place: answer.word("@odata.nextLink").map(Value::String),
            cursor: answer.word("@odata.deltaLink").map(Value::String),
        })
    }

    fn fault(fault: &Fault) -> Option<SourceError> {
        let gone = fault.status == 410
            || fault.is(&["syncStateNotFound", "SyncStateNotFound", "resyncRequired"]);
        gone.then(|| SourceError::CursorGone(fault.message.clone()))
    }
}
