//! Values to and from JSON, with every digit of a number kept.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Input, Profile, SmolStr, Value, number};

impl Input {
    /// The input of one JSON value. Lists and objects are not looked into, so their depth does not matter.
    pub fn from_json(raw: &RawValue) -> Self {
        let text = raw.get().trim_ascii();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => text_of(text).map_or(Self::Nested, Self::Text),
            Some(b'[' | b'{') | None => Self::Nested,
            Some(_) => Self::Number(text.into()),
        }
    }
}

/// The text of a JSON string, which is well formed.
fn text_of(json: &str) -> Option<SmolStr> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        // Half of a surrogate pair passes as raw JSON but is no text.
        serde_json::from_str(json).ok()
    } else {
        Some(inner.into())
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
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// The profile of a text that [`profile_json`] wrote; `None` for anything else.
pub fn profile_from_json(json: &str) -> Option<Profile> {
    profile_members(json, |_| true)
}

/// The members of such a profile that are wanted; the others are passed over.
pub fn profile_members(json: &str, wanted: impl Fn(&str) -> bool) -> Option<Profile> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let profile = Members(wanted).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(profile)
}

/// Reads a profile, as far as its names are wanted.
struct Members<W>(W);

impl<'de, W: Fn(&str) -> bool> DeserializeSeed<'de> for Members<W> {
    type Value = Profile;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Profile, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, W: Fn(&str) -> bool> Visitor<'de> for Members<W> {
    type Value = Profile;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a profile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Profile, A::Error> {
        let mut profile = Profile::new();
        while let Some(Name(name)) = members.next_key()? {
            if !(self.0)(&name) {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &RawValue = members.next_value()?;
            let value = stored_value(raw).ok_or_else(|| A::Error::custom("no value"))?;
            profile.insert(name.into(), value);
        }
        Ok(profile)
    }
}

/// A name that is copied only where it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn stored_value(raw: &RawValue) -> Option<Value> {
    match Input::from_json(raw) {
        Input::Text(text) => Some(Value::Text(text)),
        Input::Number(digits) => Some(Value::Number(number::canonical(&digits)?.into())),
        Input::Bool(flag) => Some(Value::Bool(flag)),
        Input::Null | Input::Nested => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{Input, Profile, SmolStr, Value, profile_from_json, profile_json, profile_members};

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
                "b".into(),
                Value::Number("0.10".trim_end_matches('0').into()),
            ),
            ("a\"".into(), Value::Text("x\ty".into())),
            ("c".into(), Value::Bool(false)),
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

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let json = r#"{"a":"x","b":[1,{"c":2}],"d\"":true}"#;
        let wanted = |name: &str| name != "b";
        let profile = profile_members(json, wanted).expect("a profile");
        let names: Vec<&str> = profile.keys().map(SmolStr::as_str).collect();
        assert_eq!(names, ["a", "d\""]);
        assert_eq!(profile_members(json, |name| name == "b"), None);
    }

    proptest! {
        #[test]
        fn profiles_come_back_as_they_were(texts in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..6), number in any::<i128>()) {
            let mut profile: Profile = texts.into_iter().map(|(name, text)| (name.into(), Value::Text(text.into()))).collect();
            profile.insert("number".into(), Value::Number(number.to_string().into()));
            profile.insert("flag".into(), Value::Bool(true));
            prop_assert_eq!(profile_from_json(&profile_json(&profile)), Some(profile));
        }
    }
}
