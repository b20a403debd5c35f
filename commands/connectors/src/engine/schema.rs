//! Settings held against the description of a source: the part of JSON Schema that the descriptions use.

use regex::Regex;
use roster_commands::sync::source::{AuthKind, Credentials};
use roster_domain::Problem;
use secrecy::ExposeSecret;
use serde_json::Value;

/// Every finding about a value; `loc` is where it stands.
pub(super) fn findings(schema: &Value, value: &Value, loc: &[&str]) -> Vec<Problem> {
    let problem =
        |kind: &str, message: String| vec![Problem::new(loc.iter().copied(), kind, message)];
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        let wanted = schema["type"].as_str().unwrap_or_default();
        return problem("wrong_type", format!("must be of type {wanted}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let words: Vec<String> = allowed.iter().map(Value::to_string).collect();
        return problem(
            "not_allowed",
            format!("must be one of {}", words.join(", ")),
        );
    }
    match value {
        Value::Object(members) => {
            let mut found = Vec::new();
            let known = schema["properties"].as_object();
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap_or_default();
                if members.get(name).is_none_or(Value::is_null) {
                    found.push(Problem::new(
                        child(loc, name),
                        "value_required",
                        "is required",
                    ));
                }
            }
            for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                match known.map(|known| known.get(name)) {
                    Some(Some(schema)) => found.extend(findings(schema, member, &child(loc, name))),
                    Some(None) => found.push(Problem::new(
                        child(loc, name),
                        "unknown_field",
                        "this source has no such setting",
                    )),
                    None => found.extend(findings(
                        &schema["additionalProperties"],
                        member,
                        &child(loc, name),
                    )),
                }
            }
            found
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let low = schema["minimum"]
                .as_f64()
                .is_some_and(|least| number < least);
            let high = schema["maximum"].as_f64().is_some_and(|most| number > most);
            if low || high {
                let (least, most) = (&schema["minimum"], &schema["maximum"]);
                return problem("out_of_range", format!("must be from {least} to {most}"));
            }
            Vec::new()
        }
        Value::String(text) => {
            let least = schema["minLength"].as_u64().unwrap_or(0);
            if (text.chars().count() as u64) < least {
                return problem("value_required", "is required".into());
            }
            let pattern = schema["pattern"]
                .as_str()
                .and_then(|text| Regex::new(text).ok());
            if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
                return problem(
                    "invalid_format",
                    format!("must match {}", schema["pattern"]),
                );
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn child<'a>(loc: &[&'a str], name: &'a str) -> Vec<&'a str> {
    [loc, &[name]].concat()
}

/// Every finding about a credential.
pub(super) fn credential_findings(kinds: &[AuthKind], credentials: &Credentials) -> Vec<Problem> {
    let problem = |name: &str, kind: &str, message: String| {
        Problem::new(["credentials", name], kind, message)
    };
    let Some(kind) = kind_of(kinds, credentials) else {
        let words: Vec<&str> = kinds.iter().map(|kind| kind.kind).collect();
        let message = format!("must be one of {}", words.join(", "));
        return vec![problem("type", "not_allowed", message)];
    };
    let given = |name: &str| {
        let part = credentials.parts.get(name);
        part.is_some_and(|part| !part.expose_secret().trim().is_empty())
    };
    let missing = kind
        .fields
        .iter()
        .filter(|field| field.required && !given(field.name));
    let unknown = credentials
        .parts
        .keys()
        .filter(|name| !kind.fields.iter().any(|field| field.name == name.as_str()));
    missing
        .map(|field| problem(field.name, "value_required", "is required".into()))
        .chain(unknown.map(|name| {
            let message = format!("{} has no such part", kind.kind);
            problem(name, "unknown_field", message)
        }))
        .collect()
}

/// The way to authenticate that a credential means: the only one where it does not say.
pub(super) fn kind_of<'a>(
    kinds: &'a [AuthKind],
    credentials: &Credentials,
) -> Option<&'a AuthKind> {
    match (kinds, credentials.kind.as_str()) {
        ([only], "") => Some(only),
        (kinds, word) => kinds.iter().find(|kind| kind.kind == word),
    }
}
