//! What a record of a source asks for, by the mapping and the schema. An optional value that cannot be read is cleared and told;
//! one that must be there keeps the record out.

use std::collections::BTreeMap;

use roster_domain::connection::{FieldMapping, Mapped, apply};
use roster_domain::schema::Schema;
use roster_domain::value::{Input, boolean};

use super::source::Record;
use crate::customers::EXTERNAL_ID_LIMIT;
use crate::import::meaning::{Meaning, Refusal, Wanted};

/// The target that is the customer's id.
pub(super) const CUSTOMER_USER_ID: &str = "customer_user_id";
/// The target that is the customer's switch.
pub(super) const ENABLED: &str = "enabled";

/// Reads one record; the id that it gives, where it gives one.
pub(super) fn read(
    mapping: &[FieldMapping],
    schema: &Schema,
    record: &Record,
) -> (Option<String>, Meaning) {
    let mapped = apply(mapping, &record.fields);
    if let Some(problem) = &record.problem {
        let refusal = Refusal::new(None, "record_unusable", problem.as_str());
        return (id_of(schema, &mapped).ok(), Meaning::Refused(refusal));
    }
    let id = match id_of(schema, &mapped) {
        Ok(id) => id,
        Err(refusal) => return (None, Meaning::Refused(refusal)),
    };
    if record.id.chars().count() > EXTERNAL_ID_LIMIT {
        let message = format!("the id of a record has at most {EXTERNAL_ID_LIMIT} characters");
        let refusal = Refusal::new(None, "record_id_too_long", message);
        return (Some(id), Meaning::Refused(refusal));
    }
    let meaning = match wanted(schema, &mapped, id.clone(), &record.id) {
        Ok(wanted) => Meaning::Customer(wanted),
        Err(refusal) => Meaning::Refused(refusal),
    };
    (Some(id), meaning)
}

fn id_of(schema: &Schema, mapped: &[Mapped]) -> Result<String, Refusal> {
    let primary_key = schema.primary_key();
    let given = [CUSTOMER_USER_ID, primary_key]
        .into_iter()
        .filter_map(|target| mapped.iter().find(|value| value.target == target))
        .find(|value| value.input != Input::Null || value.fault.is_some());
    let missing = |code: &str, message: &str| Refusal::new(Some(primary_key), code, message);
    let text = match given.map(|value| (&value.input, value.fault)) {
        Some((_, Some(fault))) => return Err(missing(fault, "the id cannot be read")),
        Some((Input::Text(text) | Input::Number(text), None)) => text.trim(),
        _ => "",
    };
    if text.is_empty() {
        return Err(missing("value_required", "the record names no customer"));
    }
    schema
        .canonical_id(text)
        .map_err(|problem| Refusal::of(primary_key, problem))
}

fn wanted(
    schema: &Schema,
    mapped: &[Mapped],
    customer_user_id: String,
    record_id: &str,
) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted {
        customer_user_id,
        changes: BTreeMap::new(),
        enabled: None,
        record_id: Some(record_id.to_owned()),
        warnings: Vec::new(),
    };
    for value in mapped {
        let name = value.target.as_str();
        if name == CUSTOMER_USER_ID {
            continue;
        }
        if name == ENABLED {
            wanted.enabled = switch(value)?;
            continue;
        }
        let is_key = name == schema.primary_key();
        let must_be_valid = is_key
            || schema
                .field(name)
                .is_some_and(|field| field.definition().required);
        let read = match value.fault {
            Some(fault) => Err(Refusal::new(Some(name), fault, "the value cannot be read")),
            None => schema
                .read_value(name, &value.input)
                .map_err(|problem| Refusal::of(name, problem)),
        };
        match read {
            // The id fills it.
            Ok(None) if is_key => {}
            Ok(value) => {
                wanted.changes.insert(name.into(), value);
            }
            Err(refusal) if must_be_valid => return Err(refusal),
            Err(refusal) => {
                wanted.changes.insert(name.into(), None);
                wanted.warnings.push(refusal);
            }
        }
    }
    Ok(wanted)
}

fn switch(value: &Mapped) -> Result<Option<bool>, Refusal> {
    let refused = || Refusal::new(Some(ENABLED), "boolean_invalid", "must be true or false");
    match (&value.input, value.fault) {
        (_, Some(_)) | (Input::Nested, _) => Err(refused()),
        (Input::Null, None) => Ok(None),
        (Input::Bool(flag), None) => Ok(Some(*flag)),
        (Input::Text(text) | Input::Number(text), None) => {
            boolean::canonical(text).map(Some).ok_or_else(refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::connection::{FieldMapping, Transform};
    use roster_domain::schema::{Definition, Schema};
    use roster_domain::value::Value;
    use serde_json::json;

    use super::read;
    use crate::import::meaning::{Meaning, Refusal, Wanted};
    use crate::sync::source::Record;

    fn line(source: &str, target: &str, transform: Option<Transform>) -> FieldMapping {
        FieldMapping {
            source: source.into(),
            target: target.into(),
            transform,
            default: None,
        }
    }

    fn meaning(fields: &serde_json::Value) -> Result<(Option<String>, Wanted), Refusal> {
        let schema = Schema::compile(Definition::default(), 1).expect("a schema");
        let mapping = [
            line("id", "customer_user_id", None),
            line("mail", "email", Some(Transform::Lower)),
            line("active", "enabled", None),
        ];
        let record = Record {
            id: "7".into(),
            fields: fields.as_object().cloned().unwrap_or_default(),
            ..Record::default()
        };
        match read(&mapping, &schema, &record) {
            (id, Meaning::Customer(wanted)) => Ok((id, wanted)),
            (_, Meaning::Refused(refusal)) => Err(refusal),
            (_, Meaning::Blank) => panic!("a record is never blank"),
        }
    }

    #[test]
    fn a_record_names_its_customer_and_its_values() {
        let (id, wanted) = meaning(&json!({"id": 17, "mail": "ADA@Example.org", "active": "no"}))
            .expect("a customer");
        assert_eq!(id.as_deref(), Some("17"));
        assert_eq!(wanted.record_id.as_deref(), Some("7"));
        assert_eq!(wanted.enabled, Some(false));
        assert_eq!(
            wanted.changes["email"],
            Some(Value::Text("ada@example.org".into()))
        );
    }

    #[test]
    fn a_value_that_is_gone_or_unreadable_is_cleared() {
        let (_, wanted) = meaning(&json!({"id": "a"})).expect("a customer");
        assert_eq!(wanted.changes["email"], None);
        assert!(wanted.warnings.is_empty());
        let (_, wanted) = meaning(&json!({"id": "a", "mail": "nobody"})).expect("a customer");
        assert_eq!(wanted.changes["email"], None);
        assert_eq!(wanted.warnings[0].code, "email_invalid");
    }

    #[test]
    fn a_record_that_says_that_it_is_unusable_still_names_whom_it_is_about() {
        let schema = Schema::compile(Definition::default(), 1).expect("a schema");
        let fields = json!({"id": "a"});
        let record = Record {
            fields: fields.as_object().cloned().unwrap_or_default(),
            problem: Some("the line has too many cells".into()),
            ..Record::default()
        };
        let (id, meaning) = read(&[line("id", "customer_user_id", None)], &schema, &record);
        assert_eq!(id.as_deref(), Some("a"));
        let Meaning::Refused(refusal) = meaning else {
            panic!("it is kept out");
        };
        assert_eq!(refusal.code, "record_unusable");
    }

    #[test]
    fn a_record_without_an_id_or_with_an_odd_switch_is_kept_out() {
        for (fields, code) in [
            (json!({"mail": "a@x.org"}), "value_required"),
            (json!({"id": {"a": 1}}), "value_required"),
            (json!({"id": "a", "active": "maybe"}), "boolean_invalid"),
        ] {
            let refusal = meaning(&fields).err().expect("refused");
            assert_eq!(refusal.code, code);
        }
    }
}
