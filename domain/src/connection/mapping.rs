//! From a record of a source to the fields of a customer. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Transform;
use crate::value::Input;

/// Which part of a record goes where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMapping {
    /// A path in the record, such as `email`, `name.given` or `emails.0.value`.
    pub source: String,
    /// A field of the schema, `customer_user_id` or `enabled`.
    pub target: String,
    /// What is made of the value.
    pub transform: Option<Transform>,
    /// What counts where the record has no value.
    pub default: Option<String>,
}

/// What a record says of one target; [`Input::Null`] clears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Where it goes.
    pub target: String,
    /// The value.
    pub input: Input,
    /// Why the transform failed, as a stable word.
    pub fault: Option<&'static str>,
}

/// The value at a path. A member whose name is the whole path comes first, so that names may have dots.
pub fn at_path<'r>(record: &'r Map<String, Value>, path: &str) -> Option<&'r Value> {
    if let Some(value) = record.get(path) {
        return Some(value);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (head, rest) = (&path[..dot], &path[dot + 1..]);
        below(record.get(head)?, rest)
    })
}

fn below<'r>(value: &'r Value, path: &str) -> Option<&'r Value> {
    match value {
        Value::Object(members) => at_path(members, path),
        Value::Array(items) => {
            let (index, rest) = path
                .split_once('.')
                .map_or((path, None), |(index, rest)| (index, Some(rest)));
            let item = items.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| below(item, rest))
        }
        _ => None,
    }
}

/// What a record says of every target of a mapping, in the mapping's order. Of two lines with one target the first with a
/// value counts.
pub fn apply(mapping: &[FieldMapping], record: &Map<String, Value>) -> Vec<Mapped> {
    let mut mapped: Vec<Mapped> = Vec::with_capacity(mapping.len());
    for line in mapping {
        let next = one(line, record);
        match mapped.iter_mut().find(|known| known.target == next.target) {
            Some(known) if known.input == Input::Null && known.fault.is_none() => *known = next,
            Some(_) => {}
            None => mapped.push(next),
        }
    }
    mapped
}

fn one(line: &FieldMapping, record: &Map<String, Value>) -> Mapped {
    let found = at_path(record, &line.source).filter(|value| !is_blank(value));
    let (input, fault) = match (found, line.transform) {
        (Some(value), Some(transform)) => match transform.of(value) {
            Some(text) if text.is_empty() => (Input::Null, None),
            Some(text) => (Input::Text(text.into()), None),
            None => (Input::Null, Some(transform.fault())),
        },
        (Some(value), None) => (plain(value), None),
        (None, _) => (Input::Null, None),
    };
    let input = match (&line.default, &input, fault) {
        (Some(default), Input::Null, None) => Input::Text(default.as_str().into()),
        _ => input,
    };
    Mapped {
        target: line.target.clone(),
        input,
        fault,
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn plain(value: &Value) -> Input {
    match value {
        Value::Null => Input::Null,
        Value::Bool(flag) => Input::Bool(*flag),
        Value::Number(number) => Input::Number(number.to_string().into()),
        Value::String(text) => Input::Text(text.as_str().into()),
        Value::Array(_) | Value::Object(_) => Input::Nested,
    }
}
