//! Any JSON over HTTP, as its settings describe it: where the records are, how its pages follow each other, what changed means.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_trait::async_trait;
use chrono::SecondsFormat;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LINK};
use roster_commands::sync::source::{AuthKind, Page, Provider, ProviderKind, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Value, json};

use crate::engine::api::same_origin;
use crate::engine::describe::{auth, open, optional, secret};
use crate::engine::{Answer, Api, Auth, Opening, Place, Vendor, at, instant, word};
use crate::outbound::Ask;

/// A configurable source.
pub(crate) struct HttpJson {
    url: Url,
    headers: HeaderMap,
    records: String,
    id: String,
    deleted: String,
    paging: Value,
    changes: Value,
    /// The query parameter that holds the key, which no stored place may hold.
    key: Option<String>,
}

#[async_trait]
impl Vendor for HttpJson {
    fn provider() -> Provider {
        Provider {
            provider: "http_json",
            name: "JSON over HTTP",
            kind: ProviderKind::Http,
            auth: keys(),
            config_schema: json!({
                "type": "object",
                "required": ["url"],
                "properties": {
                    "url": {"type": "string", "pattern": "^https?://"},
                    "query": {"type": "object", "additionalProperties": {"type": "string"}},
                    "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                    "records_path": {"type": "string", "default": ""},
                    "id_path": {"type": "string", "default": "id", "minLength": 1},
                    "deleted_path": {"type": "string", "default": ""},
                    "paging": {
                        "type": "object",
                        "required": ["type"],
                        "properties": {
                            "type": {"type": "string", "enum": ["none", "page", "offset", "cursor", "next_url", "link"]},
                            "param": {"type": "string"},
                            "start": {"type": "integer", "minimum": 0},
                            "size_param": {"type": "string"},
                            "size": {"type": "integer", "minimum": 1, "maximum": 10000},
                            "path": {"type": "string"},
                        },
                    },
                    "changes": {
                        "type": "object",
                        "required": ["path", "param"],
                        "properties": {
                            "path": {"type": "string", "minLength": 1},
                            "param": {"type": "string", "minLength": 1},
                            "format": {"type": "string", "enum": ["iso", "unix", "unix_ms"]},
                            "look_back_seconds": {"type": "integer", "minimum": 0, "maximum": 604_800},
                        },
                    },
                },
            }),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("name", "name"),
            ],
            docs: "A credential that may read the list. With `changes`, a run asks only for what changed; deleted records are found by \
                   full runs, or by `deleted_path` where the list says it.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let mut url = Url::parse(opening.text("url"))
            .map_err(|error| Opening::problem("url", error.to_string()))?;
        let pairs = |name| opening.value(name).as_object().into_iter().flatten();
        for (name, value) in pairs("query") {
            url.query_pairs_mut()
                .append_pair(name, value.as_str().unwrap_or_default());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in pairs("headers") {
            let value = value.as_str().unwrap_or_default();
            match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) => headers.insert(name, value),
                _ => return Err(Opening::problem("headers", format!("{name} is no header"))),
            };
        }
        let paging = opening.value("paging").clone();
        let needed = match paging["type"].as_str().unwrap_or("none") {
            "page" | "offset" => "param",
            "cursor" if paging["param"].is_null() => "param",
            "cursor" | "next_url" => "path",
            _ => "type",
        };
        if !paging.is_null() && paging[needed].is_null() {
            let loc = ["config", "paging", needed];
            return Err(vec![Problem::new(
                loc,
                "value_required",
                "is required by this type",
            )]);
        }
        let (auth, key) = authentication(opening)?;
        let api = opening.api::<Self>(url.as_str(), auth)?;
        let source = Self {
            url,
            headers,
            records: opening.text("records_path").into(),
            id: opening.text("id_path").into(),
            deleted: opening.text("deleted_path").into(),
            paging,
            changes: opening.value("changes").clone(),
            key,
        };
        Ok((source, api))
    }

    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let mut place = Place::of(walk)?;
        let url = self.ask(walk, &place)?;
        let mut ask = Ask::get(url.clone());
        // They may hold a key too, so they go to no other origin.
        ask.secrets = self.headers.clone();
        let mut answer = api.ask(ask).await?;
        place.seen.begin(answer.at);
        let list = answer.list(&self.records)?;
        let mut hasher = DefaultHasher::new();
        list.iter()
            .cloned()
            .collect::<Value>()
            .to_string()
            .hash(&mut hasher);
        let (count, digest) = (list.len() as u64, hasher.finish());
        let changed = self.changes["path"].as_str().unwrap_or_default().to_owned();
        let mut records = place.records(list, &self.id, &changed)?;
        if !self.deleted.is_empty() {
            for record in &mut records {
                let fields = Value::Object(std::mem::take(&mut record.fields));
                record.deleted = at(&fields, &self.deleted).is_some_and(says_yes);
                record.fields = match fields {
                    Value::Object(fields) => fields,
                    _ => unreachable!("it was made of an object"),
                };
            }
        }
        let next = self.next(&url, &answer, &place, count, digest)?;
        let look_back = self.changes["look_back_seconds"].as_u64().unwrap_or(60);
        Ok(place.page(records, next, walk, look_back))
    }
}

impl HttpJson {
    fn paging(&self, name: &str) -> &str {
        self.paging[name].as_str().unwrap_or_default()
    }

    /// The URL of a page.
    fn ask(&self, walk: &Walk, place: &Place) -> Result<Url, SourceError> {
        if matches!(self.paging("type"), "next_url" | "link")
            && let Some(link) = place.word()
        {
            return same_origin(&self.url, link);
        }
        let mut url = self.url.clone();
        if let Some(size) = self.paging["size"].as_u64()
            && !self.paging("size_param").is_empty()
        {
            set(&mut url, self.paging("size_param"), &size.to_string());
        }
        if let Some(since) = walk.since.as_ref().and_then(instant)
            && let Some(param) = self.changes["param"].as_str()
        {
            let since = match self.changes["format"].as_str() {
                Some("unix") => (since.0 / 1_000_000).to_string(),
                Some("unix_ms") => (since.0 / 1_000).to_string(),
                _ => since.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true),
            };
            set(&mut url, param, &since);
        }
        let turn = match self.paging("type") {
            "page" => word(&place.at, "number").or_else(|| Some(self.first(1).to_string())),
            "offset" => word(&place.at, "number").or_else(|| Some(self.first(0).to_string())),
            "cursor" => place.word().map(ToOwned::to_owned),
            _ => None,
        };
        if let Some(turn) = turn {
            set(&mut url, self.paging("param"), &turn);
        }
        Ok(url)
    }

    /// The number of the first page or record.
    fn first(&self, usual: u64) -> u64 {
        self.paging["start"].as_u64().unwrap_or(usual)
    }

    /// Where the walk goes on. Numbered pages go on until one is empty: a short one may be all that a server gives at once.
    fn next(
        &self,
        from: &Url,
        answer: &Answer,
        place: &Place,
        count: u64,
        digest: u64,
    ) -> Result<Option<Value>, SourceError> {
        let numbered = |step: u64, first: u64| {
            if count == 0 {
                return Ok(None);
            }
            if place.at["digest"].as_u64() == Some(digest) {
                let message = "the source answers every page with the same records";
                return Err(SourceError::Answer(message.into()));
            }
            let number = place.at["number"].as_u64().unwrap_or(first) + step;
            Ok(Some(json!({"number": number, "digest": digest})))
        };
        let link = match self.paging("type") {
            "page" => return numbered(1, self.first(1)),
            "offset" => return numbered(count, self.first(0)),
            "cursor" => return Ok(answer.word(self.paging("path")).map(Value::String)),
            "next_url" => answer.word(self.paging("path")),
            "link" => next_link(&answer.headers),
            _ => None,
        };
        let Some(link) = link else { return Ok(None) };
        let mut url = same_origin(from, &link)?;
        if let Some(key) = &self.key {
            without(&mut url, key);
        }
        Ok(Some(Value::String(url.into())))
    }
}

/// The ways to authenticate where a vendor is not known.
pub(super) fn keys() -> Vec<AuthKind> {
    vec![
        auth("none", []),
        auth("bearer", [secret("token", "Token")]),
        auth(
            "api_key_header",
            [open("name", "Header"), secret("key", "Key")],
        ),
        auth(
            "api_key_query",
            [open("name", "Query parameter"), secret("key", "Key")],
        ),
        auth(
            "basic",
            [open("user", "User"), secret("password", "Password")],
        ),
        auth(
            "oauth_client_credentials",
            [
                open("token_url", "Token URL"),
                open("client_id", "Client id"),
                secret("client_secret", "Client secret"),
                optional("scope", "Scope"),
            ],
        ),
    ]
}

/// How a request shows who asks, and the query parameter of a key.
pub(super) fn authentication(
    opening: &Opening<'_>,
) -> Result<(Auth, Option<String>), Vec<Problem>> {
    let secret = |name| opening.secret(name).into();
    let wrong = |part: &str, message: String| {
        vec![Problem::new(
            ["credentials", part],
            "invalid_format",
            message,
        )]
    };
    let auth = match opening.kind() {
        "bearer" => Auth::Bearer(secret("token")),
        "api_key_header" => {
            let name = HeaderName::try_from(opening.secret("name"))
                .map_err(|error| wrong("name", error.to_string()))?;
            Auth::Header(name, secret("key"))
        }
        "api_key_query" => {
            let name = opening.secret("name").to_owned();
            return Ok((Auth::Query(name.clone(), secret("key")), Some(name)));
        }
        "basic" => Auth::Basic(opening.secret("user").into(), secret("password")),
        "oauth_client_credentials" => {
            let url = Url::parse(opening.secret("token_url"))
                .map_err(|error| wrong("token_url", error.to_string()))?;
            let (id, scope) = (opening.secret("client_id"), opening.secret("scope"));
            Auth::client(url, id, opening.secret("client_secret"), scope)
        }
        _ => Auth::Nobody,
    };
    Ok((auth, None))
}

/// Whether a value means yes: what marks a record as deleted may be a flag or a time.
fn says_yes(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0" | "false" | "no"),
        _ => false,
    }
}

fn set(url: &mut Url, name: &str, value: &str) {
    without(url, name);
    url.query_pairs_mut().append_pair(name, value);
}

fn without(url: &mut Url, name: &str) {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
}

/// The next page of a `Link` header (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<String> {
    let values = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(',').collect::<Vec<_>>())
        .find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let next = parameters
                .split(';')
                .any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
            next.then(|| target.to_owned())
        })
}
