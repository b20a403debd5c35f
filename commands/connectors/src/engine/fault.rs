//! What a refusal of a vendor means. Every vendor words it its own way; the words are found here, their meaning is mostly the status's.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use roster_commands::sync::source::SourceError;
use roster_domain::Timestamp;
use serde_json::Value;

use super::answer::{at, word};
use crate::outbound::{Reply, date};

/// Where vendors put the sentence for people.
const MESSAGES: &[&str] = &[
    "message",
    "error.message",
    "error_description",
    "error.title",
    "0.message",
    "errors.0.message",
    "description",
    "error_info",
    "error",
    "title",
    "detail",
];
/// Where vendors put the word for programs.
const CODES: &[&str] = &[
    "policyName",
    "category",
    "errorCode",
    "error.errors.0.reason",
    "error.code",
    "error.type",
    "error.status",
    "0.errorCode",
    "errors.0.code",
    "code",
    "error",
];
/// No vendor asks for a longer pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// A refusal.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    /// The vendor's word for programs; empty where there is none.
    pub(crate) code: String,
    /// The vendor's sentence for people.
    pub(crate) message: String,
    /// What `Retry-After` says.
    pub(crate) wait: Option<Duration>,
    pub(crate) headers: HeaderMap,
    pub(crate) at: Timestamp,
}

impl Fault {
    /// A refusal as it came.
    pub(crate) fn of(reply: &Reply) -> Self {
        let json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let text = |paths: &[&str]| {
            let texts = paths.iter().filter_map(|path| word(&json, path));
            texts.into_iter().find(|text| !text.is_empty())
        };
        let status = reply.status.as_u16();
        let message = text(MESSAGES).unwrap_or_else(|| match json {
            Value::Null => format!("HTTP {status} without a JSON body"),
            _ => format!("HTTP {status}"),
        });
        Self {
            status,
            code: text(CODES).unwrap_or_default(),
            message,
            wait: pause(&reply.headers, reply.at),
            headers: reply.headers.clone(),
            at: reply.at,
        }
    }

    /// Whether the vendor's code is one of these.
    pub(crate) fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// A number that a header says.
    pub(crate) fn header(&self, name: &str) -> Option<u64> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }

    /// What its status says.
    pub(crate) fn meaning(self) -> SourceError {
        let message = match self.status {
            500.. => format!("HTTP {}: {}", self.status, self.message),
            _ => self.message,
        };
        match self.status {
            401 => SourceError::Unauthorized(message),
            403 | 407 | 451 => SourceError::Forbidden(message),
            429 => SourceError::Throttled(self.wait),
            500.. if self.wait.is_some() => SourceError::Throttled(self.wait),
            408 | 425 | 500.. => SourceError::Transient(message),
            400..=499 => SourceError::Config(message),
            status => SourceError::Answer(format!("an answer with status {status}")),
        }
    }
}

/// What `Retry-After` says, as seconds or as a date.
fn pause(headers: &HeaderMap, at: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.trim().parse::<f64>().ok();
    let pause = if let Some(seconds) = seconds {
        Duration::try_from_secs_f64(seconds).ok()?
    } else {
        let micros = date(Some(value))?.0.saturating_sub(at.0).max(0);
        Duration::from_micros(micros.unsigned_abs())
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// What a good answer says, as JSON.
pub(crate) fn json(reply: &Reply) -> Result<Value, SourceError> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        let start = reply.body.trim_ascii_start();
        if start.is_empty() || error.is_eof() {
            SourceError::Transient("the answer is cut off".into())
        } else if start.starts_with(b"<") {
            SourceError::Answer("a web page came instead of JSON".into())
        } else {
            SourceError::Answer("the answer is no JSON".into())
        }
    })
}

/// Whether a good status hides a refusal: `success: false` and the like.
pub(crate) fn hidden(json: &Value) -> bool {
    at(json, "success") == Some(&Value::Bool(false))
}
