//! Who caused an event, and in which request.

use serde::{Deserialize, Serialize};

use crate::Personal;

/// The cause of an event, stored beside its payload.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// What kind of credential acted.
    pub principal: Principal,
    /// The subject of a token: it may be an e-mail address, so it is sealed under the stream's key.
    pub subject: Personal<String>,
    /// The `X-Request-Id` of the request.
    pub request_id: String,
    /// The W3C trace context, if the request had one.
    pub traceparent: Option<String>,
}

/// What kind of credential acted.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// Roster itself: a job or a command line.
    #[default]
    System,
    /// An API key, by its public id.
    ApiKey(String),
    /// A bearer token; who it was is in [`Meta::subject`].
    Token,
}

/// The open part of a stored [`Meta`]. Frozen.
#[derive(Serialize, Deserialize)]
struct OpenV1 {
    principal: u8,
    key_id: Option<String>,
    request_id: String,
    traceparent: Option<String>,
}

impl Meta {
    /// The open bytes and, where there is a subject, the bytes to seal.
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let (principal, key_id) = match &self.principal {
            Principal::System => (0, None),
            Principal::ApiKey(id) => (1, Some(id.clone())),
            Principal::Token => (2, None),
        };
        let open = OpenV1 {
            principal,
            key_id,
            request_id: self.request_id.clone(),
            traceparent: self.traceparent.clone(),
        };
        (
            crate::event::to_bytes(&open),
            self.subject
                .known()
                .map(|subject| subject.as_bytes().to_vec()),
        )
    }

    /// The cause from its bytes; `None` if they have another shape.
    pub fn decode(open: &[u8], subject: Option<&[u8]>) -> Option<Self> {
        let open: OpenV1 = crate::event::from_bytes((0, 1), open).ok()?;
        let principal = match (open.principal, open.key_id) {
            (0, _) => Principal::System,
            (1, Some(id)) => Principal::ApiKey(id),
            (2, _) => Principal::Token,
            _ => return None,
        };
        let subject = subject.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        Some(Self {
            principal,
            subject: subject.into(),
            request_id: open.request_id,
            traceparent: open.traceparent,
        })
    }
}
