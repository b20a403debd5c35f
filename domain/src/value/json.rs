//! Values to and from JSON, with every digit of a number kept.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Input, Profile, Value, number};

impl Input {
    /// The input of one JSON value. Lists and objects are not looked into, so their depth does not matter.
    pub fn from_json(raw: &RawValue) -> Self {
        let text = raw.get().trim_ascii();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            // Half of a surrogate pair passes as raw JSON but is no text.
            Some(b'"') => serde_json::from_str(text).map_or(Self::Nested, Self::Text),
            Some(b'[' | b'{') | None => Self::Nested,
            Some(_) => Self::Number(text.into()),
        }
    }
}

impl From<&Value> for Input {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.clone()),
            Value::Number(text) => Self::Number(text.clone()),
            Value::Bool(flag) => Self::Bool(*flag),
        }
    }
}

/// The profile as compact JSON text: an object in the byte order of its names, numbers bare and with their exact digits.
pub fn profile_json(profile: &Profile) -> String {
    let mut json = String::with_capacity(2 + profile.len() * 24);
    json.push('{');
    for (place, (name, value)) in profile.iter().enumerate() {
        if place > 0 {
            json.push(',');
        }
        push_text(&mut json, name);
        json.push(':');
        push_value(&mut json, value);
    }
    json.push('}');
    json
}

/// One value as compact JSON text, a number with its exact digits.
pub fn value_json(value: &Value) -> String {
    let mut json = String::new();
    push_value(&mut json, value);
    json
}

fn push_value(json: &mut String, value: &Value) {
    match value {
        Value::Text(text) => push_text(json, text),
        Value::Number(digits) => json.push_str(digits),
        Value::Bool(flag) => json.push_str(if *flag { "true" } else { "false" }),
    }
}

fn push_text(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

/// The profile of a text that [`profile_json`] wrote; `None` for anything else.
pub fn profile_from_json(json: &str) -> Option<Profile> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    members
        .into_iter()
        .map(|(name, raw)| {
            let value = match Input::from_json(raw) {
                Input::Text(text) => Value::Text(text),
                Input::Number(digits) => Value::Number(number::canonical(&digits)?),
                Input::Bool(flag) => Value::Bool(flag),
                Input::Null | Input::Nested => return None,
            };
            Some((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{Input, Profile, Value, profile_from_json, profile_json};

    fn input(json: &str) -> Input {
        Input::from_json(serde_json::from_str::<&RawValue>(json).expect("valid JSON"))
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(
            input("12345678901234567890.50"),
            Input::Number("12345678901234567890.50".into())
        );
        assert_eq!(input("-1e3"), Input::Number("-1e3".into()));
    }

    #[test]
    fn every_kind_of_json_has_its_input() {
        assert_eq!(input("null"), Input::Null);
        assert_eq!(input(" true "), Input::Bool(true));
        assert_eq!(input(r#""\u00e4\n""#), Input::Text("ä\n".into()));
        assert_eq!(input("[1]"), Input::Nested);
        assert_eq!(input("{}"), Input::Nested);
    }

    #[test]
    fn deep_nesting_is_one_input() {
        let raw = RawValue::from_string(format!("{}1{}", "[".repeat(100), "]".repeat(100)))
            .expect("valid JSON");
        assert_eq!(Input::from_json(&raw), Input::Nested);
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        if let Ok(raw) = RawValue::from_string(r#""\ud800""#.into()) {
            assert_eq!(Input::from_json(&raw), Input::Nested);
        }
    }

    #[test]
    fn a_profile_is_an_object_in_the_order_of_its_names() {
        let profile: Profile = [
            (
                "b".to_owned(),
                Value::Number("0.10".trim_end_matches('0').into()),
            ),
            ("a\"".to_owned(), Value::Text("x\ty".into())),
            ("c".to_owned(), Value::Bool(false)),
        ]
        .into();
        assert_eq!(
            profile_json(&profile),
            r#"{"a\"":"x\ty","b":0.1,"c":false}"#
        );
        assert_eq!(profile_json(&Profile::new()), "{}");
    }

    #[test]
    fn what_no_profile_wrote_is_no_profile() {
        for json in ["", "[]", r#"{"a":null}"#, r#"{"a":[]}"#, "{", r#"{"a":1}x"#] {
            assert_eq!(profile_from_json(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn profiles_come_back_as_they_were(texts in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..6), number in any::<i128>()) {
            let mut profile: Profile = texts.into_iter().map(|(name, text)| (name, Value::Text(text))).collect();
            profile.insert("number".into(), Value::Number(number.to_string()));
            profile.insert("flag".into(), Value::Bool(true));
            prop_assert_eq!(profile_from_json(&profile_json(&profile)), Some(profile));
        }
    }
}
