//! A caller of a [`Server`] over real HTTP: what it says, and what it hears back.
//!
//! A [`Client`] is a value: one with another credential, scope or header is made from it. It never retries.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method};
use roster_commands::authority::TABLE;
use roster_domain::Scope;
use roster_internal::{BASE, base_of};
use serde_json::{Value, json};

use crate::server::{JWT_SECRET, Server};
use crate::until::until;

/// The account of every test.
pub const ACCOUNT: &str = "acc_test";
/// The organization of every test.
pub const ORG: &str = "org_test";

/// A project of the test organization.
pub fn project(project_id: &str) -> Scope {
    Scope {
        account_id: ACCOUNT.into(),
        org_id: ORG.into(),
        project_id: project_id.into(),
    }
}

/// What a client proves who it is with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    None,
    /// `Authorization: Bearer` with a key or a token.
    Bearer(String),
    /// `X-Api-Key`.
    ApiKey(String),
}

/// A caller with a credential, in one project.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    scope: Scope,
    credential: Credential,
    headers: HeaderMap,
    heard: Option<Heard>,
}

/// Everything that callers heard, headers and bodies, as text.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<String>>);

impl Heard {
    /// All of it.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn add(&self, answer: &Answer) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(text, "{:?}\n{}", answer.headers, answer.text());
    }
}

impl Client {
    /// A caller of a server.
    #[expect(
        clippy::disallowed_methods,
        reason = "it talks to the server of the test and to nobody else"
    )]
    pub fn new(server: &Server, scope: Scope, credential: Credential) -> Self {
        // Fails only where another test of the process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Answers are looked at as they were sent.
        let http = reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .no_zstd()
            .build()
            .expect("an HTTP client");
        Self {
            http,
            url: server.url().to_owned(),
            scope,
            credential,
            headers: HeaderMap::new(),
            heard: None,
        }
    }

    /// A caller with every permission in one project of the test organization, by a new key.
    pub async fn of_project(server: &Server, project_id: &str) -> anyhow::Result<Self> {
        let key = server.key(ACCOUNT, &["*"]).await?;
        Ok(Self::new(
            server,
            project(project_id),
            Credential::Bearer(key),
        ))
    }

    /// The same caller on another server, or on the same one after a restart.
    #[must_use]
    pub fn at(&self, server: &Server) -> Self {
        Self {
            url: server.url().to_owned(),
            ..self.clone()
        }
    }

    /// The same caller at an address, `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn at_url(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// The same caller with another credential.
    #[must_use]
    pub fn with_credential(&self, credential: Credential) -> Self {
        Self {
            credential,
            ..self.clone()
        }
    }

    /// The same caller in another project or tenant.
    #[must_use]
    pub fn in_scope(&self, scope: Scope) -> Self {
        Self {
            scope,
            ..self.clone()
        }
    }

    /// The same caller with a header on every request.
    #[must_use]
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        let name = HeaderName::try_from(name).expect("a header name");
        headers.insert(name, HeaderValue::try_from(value).expect("a header value"));
        Self {
            headers,
            ..self.clone()
        }
    }

    /// The same caller, and what it and callers made from it will hear.
    #[must_use]
    pub fn recorded(&self) -> (Self, Heard) {
        let heard = Heard::default();
        let recorded = Self {
            heard: Some(heard.clone()),
            ..self.clone()
        };
        (recorded, heard)
    }

    /// The tenant that it names.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// A body with the scope of this client and these members.
    pub fn body(&self, members: &Value) -> Value {
        let Scope {
            account_id,
            org_id,
            project_id,
        } = &self.scope;
        let mut body =
            json!({"account_id": account_id, "org_id": org_id, "project_id": project_id});
        for (name, value) in members.as_object().expect("members are an object") {
            body[name] = value.clone();
        }
        body
    }

    /// The scope of this client as a query string.
    pub fn query(&self) -> String {
        let Scope {
            account_id,
            org_id,
            project_id,
        } = &self.scope;
        format!("account_id={account_id}&org_id={org_id}&project_id={project_id}")
    }

    /// A JSON request to a route of the project users or runtime identity API, or to a path that begins with `/`.
    pub async fn post(&self, route: &str, members: Value) -> Answer {
        self.post_text(route, self.body(&members).to_string()).await
    }

    /// The same with a body as it stands, without the scope.
    pub async fn post_text(&self, route: &str, body: impl Into<Body>) -> Answer {
        self.send(Method::POST, route, Some("application/json"), body)
            .await
    }

    /// A file as a streamed import; `options` are further members of the query, such as `dry_run=true`.
    pub async fn import(&self, options: &str, csv: impl Into<Body>) -> Answer {
        let route = format!("users/import-csv?{}&{options}", self.query());
        self.send(
            Method::POST,
            route.trim_end_matches('&'),
            Some("text/csv"),
            csv,
        )
        .await
    }

    /// A request without a body.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, "").await
    }

    /// Any request.
    pub async fn send(
        &self,
        method: Method,
        route: &str,
        content_type: Option<&str>,
        body: impl Into<Body>,
    ) -> Answer {
        self.try_send(method, route, content_type, body)
            .await
            .unwrap_or_else(|error| panic!("{route}: {error:?}"))
    }

    /// A JSON request to a server that may be killed meanwhile.
    pub async fn try_post(&self, route: &str, members: Value) -> reqwest::Result<Answer> {
        let body = self.body(&members).to_string();
        self.try_send(Method::POST, route, Some("application/json"), body)
            .await
    }

    /// A request without a body to a server that may be away.
    pub async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        self.try_send(Method::GET, path, None, "").await
    }

    /// The same request as the bytes of HTTP/1.1, for a load that must cost little, and where the server is.
    pub fn bytes_of(&self, route: &str, members: &Value) -> (SocketAddr, Vec<u8>) {
        let address = self.url.trim_start_matches("http://");
        let (path, body) = (path_of(route), self.body(members).to_string());
        let credential = match &self.credential {
            Credential::None => String::new(),
            Credential::Bearer(token) => format!("Authorization: Bearer {token}\r\n"),
            Credential::ApiKey(key) => format!("X-Api-Key: {key}\r\n"),
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\n{credential}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let address = address
            .parse()
            .expect("the server of a test has an address");
        (address, request.into_bytes())
    }

    async fn try_send(
        &self,
        method: Method,
        route: &str,
        content_type: Option<&str>,
        body: impl Into<Body>,
    ) -> reqwest::Result<Answer> {
        let path = path_of(route);
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .headers(self.headers.clone());
        request = match &self.credential {
            Credential::None => request,
            Credential::Bearer(token) => request.bearer_auth(token),
            Credential::ApiKey(key) => request.header("x-api-key", key),
        };
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = request.body(body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        let answer = Answer {
            what: path,
            status,
            headers,
            body,
        };
        if let Some(heard) = &self.heard {
            heard.add(&answer);
        }
        Ok(answer)
    }

    /// The body of a request that succeeds.
    pub async fn ok(&self, route: &str, members: Value) -> Value {
        self.post(route, members).await.ok()
    }

    /// What stands under `detail` of a request that is refused with this status and code.
    pub async fn refused(&self, route: &str, members: Value, status: u16, code: &str) -> Value {
        self.post(route, members).await.refused(status, code)
    }

    /// The finding of a request that is not valid in one place, such as `body.profile.email`.
    pub async fn invalid(&self, route: &str, members: Value, place: &str) -> Value {
        self.post(route, members).await.invalid(place)
    }

    /// Creates or changes a customer; the record as the answer has it.
    pub async fn upsert(&self, customer_user_id: &str, profile: Value) -> Value {
        let members = json!({"customer_user_id": customer_user_id, "profile": profile});
        self.ok("users/upsert", members).await["customer"].clone()
    }

    /// Creates or changes many customers, none of whom may fail; the position that shows them.
    pub async fn upsert_all(&self, items: Value) -> i64 {
        let answer = self
            .post("users/upsert-bulk", json!({"items": items}))
            .await;
        assert_eq!(answer.ok()["failed"], 0, "{answer}");
        answer.position()
    }

    /// A list that shows everything up to a position, search included.
    pub async fn list_at(&self, filters: Value, position: i64) -> Value {
        let reader = self.with_header("roster-min-position", &format!("1:{position}"));
        reader.ok("users/list", filters).await
    }

    /// An import that has come to its end.
    pub async fn import_ended(&self, import_id: &Value) -> Value {
        until("the import ends", async || {
            let import = self
                .ok("users/imports/get", json!({"import_id": import_id}))
                .await;
            (!import["finished_at"].is_null()).then_some(import)
        })
        .await
    }

    /// A purge that has come to its end. After a kill reads are behind for a while, and know nothing of a new one yet.
    pub async fn purge_ended(&self, purge_id: &Value) -> Value {
        let members = json!({"purge_id": purge_id});
        let purge = until("the purge ends", async || {
            let found = self.post("users/purge/get", members.clone()).await;
            if found.status == 404 {
                return None;
            }
            Some(found.ok()).filter(|purge| !purge["finished_at"].is_null())
        });
        let purge = purge.await;
        let stats = &purge["stats"];
        let parts =
            ["deleted", "not_found", "failed", "remaining"].map(|name| stats[name].as_i64());
        let sum: Option<i64> = parts.into_iter().sum();
        assert_eq!(stats["total"].as_i64(), sum, "{purge}");
        purge
    }

    /// A uniqueness check that has come to its end.
    pub async fn preparation_ended(&self, preparation_id: &Value) -> Value {
        let members = json!({"preparation_id": preparation_id});
        until("the check ends", async || {
            let check = self.ok("schema/preparation/get", members.clone()).await;
            (check["status"] != "running").then_some(check)
        })
        .await
    }

    /// The last position of the log.
    pub async fn head(&self) -> i64 {
        self.get("/readyz").await.ok()["head"]
            .as_i64()
            .expect("a head")
    }

    /// What a request that was refused must leave as it was: the log, the customers and the unfinished imports.
    pub async fn holdings(&self) -> [Value; 3] {
        let customers = self.ok("users/list", json!({})).await["total"].clone();
        let imports = json!({"active_only": true});
        let imports = self.ok("users/imports/list", imports).await["total"].clone();
        [self.head().await.into(), customers, imports]
    }

    /// The ids of one page of `users/list`, in the order of the list.
    pub async fn ids(&self, filters: Value) -> Vec<String> {
        ids(&self.ok("users/list", filters).await)
    }
}

/// Where a route is.
fn path_of(route: &str) -> String {
    if route.starts_with('/') {
        return route.to_owned();
    }
    let name = route.split('?').next().unwrap_or_default();
    let known = TABLE.iter().find(|row| row.route == name);
    let base = known.map_or(BASE, |row| base_of(row.operation));
    format!("{base}/{route}")
}

/// The ids of the items of a list.
pub fn ids(list: &Value) -> Vec<String> {
    let items = list["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {list}"));
    items
        .iter()
        .filter_map(|item| Some(item["customer_user_id"].as_str()?.to_owned()))
        .collect()
}

/// A token with these claims, signed with the secret of the test servers.
pub fn token(claims: &Value) -> String {
    token_with(claims, JWT_SECRET.as_bytes(), Algorithm::HS256)
}

/// A token signed in another way.
pub fn token_with(claims: &Value, secret: &[u8], algorithm: Algorithm) -> String {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("claims can be signed")
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    what: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The position in `Roster-Position`, whose epoch is 1.
    pub fn position(&self) -> i64 {
        let text = self
            .header("roster-position")
            .unwrap_or_else(|| panic!("{} has no position", self.what));
        let position = text
            .strip_prefix("1:")
            .and_then(|position| position.parse().ok());
        position.unwrap_or_else(|| panic!("{} has the position {text}", self.what))
    }

    /// The body, if the answer is a good one.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self}");
        self.json()
    }

    /// What stands under `detail`, if the answer has this status and code.
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let detail = &self.json()["detail"];
        assert_eq!(
            (self.status, detail["code"].as_str()),
            (status, Some(code)),
            "{self}"
        );
        assert!(
            detail["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{self}"
        );
        detail.clone()
    }

    /// The finding about a place, such as `body.profile.email`, if the answer is 422 with a list of findings.
    pub fn invalid(&self, place: &str) -> Value {
        assert_eq!(self.status, 422, "{self}");
        let findings = self.json()["detail"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = findings
            .iter()
            .find(|finding| self::place(finding) == place);
        found
            .unwrap_or_else(|| panic!("nothing is said about {place}: {self}"))
            .clone()
    }
}

impl Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(2_000).collect();
        write!(formatter, "{} answered {}: {text}", self.what, self.status)
    }
}

/// The place of a finding with dots.
fn place(finding: &Value) -> String {
    let parts = finding["loc"].as_array().cloned().unwrap_or_default();
    let part = |part: &Value| {
        part.as_str()
            .map_or_else(|| part.to_string(), str::to_owned)
    };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}
