//! Requests and answers in plain words.

use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body: JSON, or a form as an object; null where there is none.
    pub body: Value,
    /// Where the fake answers, such as `http://127.0.0.1:4000`.
    pub(crate) url: String,
}

impl Ask {
    /// The first value of a parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pair = self.query.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// User and password of `Authorization: Basic`.
    pub(crate) fn basic(&self) -> Option<String> {
        let encoded = self.header("authorization")?.strip_prefix("Basic ")?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    }

    /// A number of the query, or another where it is not given.
    pub(crate) fn number(&self, name: &str, usual: usize) -> usize {
        self.query(name)
            .map_or(usual, |text| text.parse().unwrap_or(usize::MAX))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// 200 with JSON.
    pub(crate) fn ok(body: &Value) -> Self {
        Self::status(200, body)
    }

    /// A status with JSON.
    pub(crate) fn status(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    /// A status with a body of another kind.
    pub(crate) fn other(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), kind.into())],
            body: body.into(),
        }
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A token, as every vendor answers it.
    pub(crate) fn token(token: &str) -> Self {
        Self::ok(&json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_599}))
    }
}
