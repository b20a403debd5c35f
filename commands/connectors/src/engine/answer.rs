//! A vendor's answer, and how records are found in it.

use reqwest::header::HeaderMap;
use roster_commands::sync::source::{Record, SourceError};
use roster_domain::Timestamp;
use serde_json::Value;

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) json: Value,
    pub(crate) headers: HeaderMap,
    /// When it was made, by the vendor's clock where it says so.
    pub(crate) at: Timestamp,
}

impl Answer {
    /// The list at a path, taken out. An answer without it is none that the vendor documents.
    pub(crate) fn list(&mut self, path: &str) -> Result<Vec<Value>, SourceError> {
        match at_mut(&mut self.json, path).map(Value::take) {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(SourceError::Answer(format!(
                "the answer has no list `{path}`"
            ))),
        }
    }

    /// The text at a path; `None` where it is missing, null or empty. Numbers count as text.
    pub(crate) fn word(&self, path: &str) -> Option<String> {
        word(&self.json, path)
    }
}

/// The value at a path such as `emails.0.value`; the empty path is the value itself. A member that is named like the whole path wins.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    if let Some(member) = value.get(path) {
        return Some(member);
    }
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let inner = match value {
        Value::Array(items) => items.get(head.parse::<usize>().ok()?)?,
        _ => value.get(head)?,
    };
    at(inner, rest)
}

fn at_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if path.is_empty() {
        return Some(value);
    }
    path.split('.').try_fold(value, |inner, part| match inner {
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => inner.get_mut(part),
    })
}

/// The text at a path; `None` where it is missing, null or empty. Numbers count as text.
pub(crate) fn word(value: &Value, path: &str) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A record of a list, with its id at a path. What is no object is none.
pub(crate) fn record(value: Value, id: &str) -> Result<Record, SourceError> {
    let id = word(&value, id).unwrap_or_default();
    match value {
        Value::Object(fields) => Ok(Record {
            id,
            fields,
            ..Record::default()
        }),
        _ => Err(SourceError::Answer(
            "a record of the answer is no object".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{at, word};

    #[test]
    fn a_path_goes_through_members_and_lists() {
        let value = json!({"emails": [{"value": "a@x.org"}], "a.b": 1, "a": {"b": 2, "c": null}});
        assert_eq!(at(&value, "emails.0.value"), Some(&json!("a@x.org")));
        assert_eq!(at(&value, "a.b"), Some(&json!(1)));
        assert_eq!(word(&value, "a.b").as_deref(), Some("1"));
        assert_eq!(word(&value, "a.c"), None);
        assert_eq!(at(&value, "emails.1.value"), None);
    }
}
