//! How single members of a body are read: blanks that mean absent, and profile values with every digit of a number.

use std::fmt;
use std::marker::PhantomData;

use roster_domain::Timestamp;
use roster_domain::value::{Input, SmolStr};
use roster_projections::customers::AsOf;
use serde::de::{Error as _, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A text that is absent where it is null or blank. The text itself is trimmed.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// A switch that is absent where it is null or blank.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    deserializer.deserialize_any(FlagVisitor)
}

struct FlagVisitor;

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = Option<bool>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("true, false or null")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.trim().is_empty() {
            Ok(None)
        } else {
            Err(E::invalid_type(Unexpected::Str(""), &self))
        }
    }
}

/// A time that is absent where it is null or blank. One without an offset names no instant and is refused.
pub(crate) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = text(deserializer)? else {
        return Ok(None);
    };
    let instant = serde_json::from_value::<Timestamp>(text.into());
    instant.map(Some).map_err(|_| {
        D::Error::invalid_value(Unexpected::Str(""), &"a time of RFC 3339 with an offset")
    })
}

/// A point in the past: a time of RFC 3339 with an offset, or a position of the log. Absent where it is null or blank.
pub(crate) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AsOf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Moment {
        Position(i64),
        Text(String),
    }
    let malformed =
        || D::Error::invalid_value(Unexpected::Other("it"), &"a time of RFC 3339 or a position");
    match Option::<Moment>::deserialize(deserializer).map_err(|_| malformed())? {
        None => Ok(None),
        Some(Moment::Position(position)) if position >= 0 => Ok(Some(AsOf::Position(position))),
        Some(Moment::Position(_)) => Err(malformed()),
        Some(Moment::Text(text)) if text.trim().is_empty() => Ok(None),
        Some(Moment::Text(text)) if text.trim().bytes().all(|byte| byte.is_ascii_digit()) => {
            let position = text.trim().parse().map_err(|_| malformed())?;
            Ok(Some(AsOf::Position(position)))
        }
        Some(Moment::Text(text)) => serde_json::from_value::<Timestamp>(text.trim().into())
            .map(|time| Some(AsOf::Time(time.to_utc())))
            .map_err(|_| malformed()),
    }
}

/// Values by field name, as they were written and in that order. A name that comes twice is refused.
#[derive(Clone, Default)]
pub(crate) struct Values(pub(crate) Vec<(SmolStr, Input)>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ValuesVisitor)
    }
}

/// Members by name, in the order in which they were written. A name that comes twice is refused.
#[derive(Clone)]
pub(crate) struct Members<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = Members<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, T)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::duplicate_field("of the object"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Members(members))
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of field names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
        let mut values: Vec<(SmolStr, Input)> = Vec::with_capacity(16);
        let mut seen = std::collections::HashSet::with_capacity(16);
        while let Some(name) = map.next_key::<SmolStr>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::duplicate_field("of the profile"));
            }
            let raw = map.next_value::<&RawValue>()?;
            values.push((name, Input::from_json(raw)));
        }
        Ok(Values(values))
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::Timestamp;
    use roster_domain::value::Input;
    use serde::Deserialize;

    use super::{Values, flag, text, time};

    #[derive(Deserialize)]
    struct Filters {
        #[serde(default, deserialize_with = "text")]
        search: Option<String>,
        #[serde(default, deserialize_with = "flag")]
        enabled_only: Option<bool>,
    }

    fn filters(json: &str) -> Option<(Option<String>, Option<bool>)> {
        serde_json::from_str::<Filters>(json)
            .ok()
            .map(|filters| (filters.search, filters.enabled_only))
    }

    #[test]
    fn null_and_blank_are_absent() {
        for json in [
            "{}",
            r#"{"search":null,"enabled_only":null}"#,
            r#"{"search":"  ","enabled_only":""}"#,
        ] {
            assert_eq!(filters(json), Some((None, None)), "{json}");
        }
        assert_eq!(
            filters(r#"{"search":" a b ","enabled_only":false}"#),
            Some((Some("a b".into()), Some(false)))
        );
        assert_eq!(filters(r#"{"enabled_only":"yes"}"#), None);
    }

    #[test]
    fn a_time_needs_an_offset() {
        #[derive(Deserialize)]
        struct Since {
            #[serde(default, deserialize_with = "time")]
            at: Option<Timestamp>,
        }
        let at = |json: &str| serde_json::from_str::<Since>(json).map(|since| since.at);
        assert_eq!(
            at(r#"{"at":"1970-01-01T00:00:01Z"}"#).ok(),
            Some(Some(Timestamp(1_000_000)))
        );
        assert_eq!(at(r#"{"at":""}"#).ok(), Some(None));
        let naive = at(r#"{"at":"1970-01-01T00:00:01"}"#)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            naive.contains("expected a time of RFC 3339 with an offset"),
            "{naive}"
        );
    }

    #[test]
    fn values_keep_their_digits_and_come_once() {
        let values: Values =
            serde_json::from_str(r#"{"n":1.50,"t":"x","z":null}"#).expect("an object");
        let expected = [
            ("n".into(), Input::Number("1.50".into())),
            ("t".into(), Input::Text("x".into())),
            ("z".into(), Input::Null),
        ];
        assert_eq!(values.0, expected);
        assert!(serde_json::from_str::<Values>(r#"{"n":1,"n":2}"#).is_err());
        assert!(serde_json::from_str::<Values>("[]").is_err());
    }
}
