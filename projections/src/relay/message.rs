//! What an event is on the bus: its subject, and a `CloudEvent` that names nobody.
//!
//! Only the open part of an event gets here ([`OpenEvent`]), and of that only references, versions and names of fields:
//! whoever may see the values reads them through the API.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use async_nats::{HeaderMap, HeaderValue};
use chrono::SecondsFormat;
use roster_domain::customer::CustomerEvent;
use roster_domain::value::SmolStr;
use roster_store::{Cell, OpenEvent, Project};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RelayError;

/// One message, before it is given its place in the stream.
pub(super) struct Message {
    pub(super) position: i64,
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// CloudEvents 1.0 in the structured JSON form, with the extension attributes `sequence` and `digest`.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    name: &'static str,
    subject: Uuid,
    time: String,
    datacontenttype: &'static str,
    sequence: String,
    digest: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    account_id: &'a str,
    org_id: &'a str,
    project_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_ref: Option<Uuid>,
    version: i32,
    type_version: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Changed>,
}

/// What of a record changed, by name.
#[derive(Serialize)]
struct Changed {
    /// Profile fields.
    fields: Vec<SmolStr>,
    /// Other members of the record.
    members: Vec<&'static str>,
}

/// The part of a message that tells whose it is.
#[derive(Deserialize)]
struct Digested {
    digest: String,
}

/// Writes the messages of one cell in one epoch.
pub(super) struct Writer {
    cell: Cell,
    epoch: i32,
    source: String,
    tenants: HashMap<i32, Tenant>,
}

struct Tenant {
    project: Arc<Project>,
    /// `roster.<cell>.<account>.<org>.<project>.`
    prefix: String,
}

impl Writer {
    pub(super) fn new(cell: Cell, epoch: i32) -> Self {
        Self {
            source: format!("/roster/{}", cell.name()),
            tenants: HashMap::new(),
            cell,
            epoch,
        }
    }

    /// The message of an event.
    ///
    /// # Errors
    /// [`RelayError::UnknownType`] where a newer server wrote the event: it can name it, and this one cannot.
    pub(super) async fn write(&mut self, event: &OpenEvent) -> Result<Message, RelayError> {
        let name = event.name().ok_or(RelayError::UnknownType {
            type_no: event.type_no,
            type_version: event.type_version,
        })?;
        let (aggregate, what) = name.split_once('.').unwrap_or((name, "happened"));
        self.know(event.project_no).await?;
        let tenant = self
            .tenants
            .get(&event.project_no)
            .ok_or(RelayError::UnknownProject(event.project_no))?;
        let scope = &tenant.project.scope;
        let cloud_event = CloudEvent {
            specversion: "1.0",
            id: format!("{}:{}:{}", self.cell.name(), self.epoch, event.position),
            source: &self.source,
            name,
            subject: event.stream,
            time: event
                .recorded_at
                .to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            sequence: event.position.to_string(),
            digest: hex(&event.digest),
            data: Data {
                account_id: &scope.account_id,
                org_id: &scope.org_id,
                project_id: &scope.project_id,
                customer_ref: (aggregate == "customer").then_some(event.stream),
                version: event.version,
                type_version: event.type_version,
                changed: changed(event, name)?,
            },
        };
        let mut headers = HeaderMap::new();
        let traceparent = event.meta()?.traceparent;
        if let Some(value) = traceparent.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert("traceparent", value);
        }
        Ok(Message {
            position: event.position,
            subject: format!("{}{}.{}", tenant.prefix, token(aggregate), token(what)),
            headers,
            body: serde_json::to_vec(&cloud_event).map_err(|_| RelayError::Unwritable)?,
        })
    }

    async fn know(&mut self, project_no: i32) -> Result<(), RelayError> {
        if self.tenants.contains_key(&project_no) {
            return Ok(());
        }
        if let Some(project) = self.cell.project_by_no(project_no).await? {
            let scope = &project.scope;
            let mut prefix = format!("roster.{}.", token(self.cell.name()));
            for id in [&scope.account_id, &scope.org_id, &scope.project_id] {
                prefix.push_str(&token(id));
                prefix.push('.');
            }
            self.tenants.insert(project_no, Tenant { project, prefix });
        }
        Ok(())
    }
}

/// Every subject of a cell.
pub(super) fn subjects_of(cell: &str) -> String {
    format!("roster.{}.>", token(cell))
}

/// The digest that a message carries; `None` where it is no message of a relay.
pub(super) fn digest_of(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Digested>(body)
        .ok()
        .map(|message| message.digest)
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A text as one token of a subject: every byte but letters, digits, `-` and `_` as `%` and two hexadecimal digits.
fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            token.push(char::from(byte));
        } else {
            let _ = write!(token, "%{byte:02X}");
        }
    }
    token
}

fn changed(event: &OpenEvent, name: &str) -> Result<Option<Changed>, RelayError> {
    if name != "customer.updated" {
        return Ok(None);
    }
    let CustomerEvent::Updated {
        fields,
        enabled,
        connector_enabled,
        source,
        ..
    } = event.decode()?
    else {
        return Ok(None);
    };
    let members = [
        (enabled.is_some(), "enabled"),
        (!connector_enabled.is_empty(), "connector_enabled"),
        (source.is_some(), "data_source"),
    ];
    Ok(Some(Changed {
        fields,
        members: members
            .into_iter()
            .filter_map(|(has_changed, member)| has_changed.then_some(member))
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{digest_of, hex, subjects_of, token};

    #[test]
    fn a_token_has_nothing_that_a_subject_is_made_of() {
        assert_eq!(token("acc_1-b"), "acc_1-b");
        assert_eq!(token("a.b"), "a%2Eb");
        assert_eq!(token("*> %ü"), "%2A%3E%20%25%C3%BC");
        assert_eq!(subjects_of("main"), "roster.main.>");
    }

    #[test]
    fn the_digest_of_a_message_is_read_back() {
        let body = format!("{{\"id\":\"main:1:1\",\"digest\":\"{}\"}}", hex(&[0, 255]));
        assert_eq!(digest_of(body.as_bytes()).as_deref(), Some("00ff"));
        assert_eq!(digest_of(b"hello"), None);
    }
}
