//! What can be made of a value on its way into a field.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::{boolean, phone};

/// How dates are written besides RFC 3339.
const DATES: [&str; 4] = ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%Y%m%d"];
/// How times without a zone are written.
const TIMES: [&str; 3] = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%z",
];
/// Numbers from here on are milliseconds; as seconds they would be in the year 5138.
const MILLISECONDS: i64 = 100_000_000_000;

/// What is made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Without blanks around it.
    Trim,
    /// In small letters.
    Lower,
    /// In capital letters.
    Upper,
    /// Only the digits.
    Digits,
    /// A telephone number as `+` and digits.
    Phone,
    /// A date as `2026-01-31`; numbers are seconds or milliseconds since 1970.
    Date,
    /// `true` or `false`.
    Boolean,
    /// The values of a list with commas between them.
    Join,
}

impl Transform {
    /// Every transform.
    pub const ALL: [Self; 8] = [
        Self::Trim,
        Self::Lower,
        Self::Upper,
        Self::Digits,
        Self::Phone,
        Self::Date,
        Self::Boolean,
        Self::Join,
    ];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trim => "trim",
            Self::Lower => "lower",
            Self::Upper => "upper",
            Self::Digits => "digits",
            Self::Phone => "phone",
            Self::Date => "date",
            Self::Boolean => "boolean",
            Self::Join => "join",
        }
    }

    /// The transform of a public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The transform of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word for a value that it makes nothing of.
    pub(super) const fn fault(self) -> &'static str {
        match self {
            Self::Phone => "phone_invalid",
            Self::Date => "date_invalid",
            Self::Boolean => "boolean_invalid",
            _ => "value_type",
        }
    }

    /// What becomes of a value; `None` where nothing can.
    pub(super) fn of(self, value: &Value) -> Option<String> {
        if self == Self::Join {
            return join(value);
        }
        let text = scalar(value)?;
        let text = text.trim();
        match self {
            Self::Trim | Self::Join => Some(text.to_owned()),
            Self::Lower => Some(text.to_lowercase()),
            Self::Upper => Some(text.to_uppercase()),
            Self::Digits => Some(text.chars().filter(char::is_ascii_digit).collect()),
            Self::Phone => phone::international(text),
            Self::Date => date(text),
            Self::Boolean => boolean::canonical(text).map(|flag| flag.to_string()),
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn join(value: &Value) -> Option<String> {
    let Value::Array(items) = value else {
        return scalar(value);
    };
    let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
    Some(texts?.join(", "))
}

/// Whether a year was written with all of its digits: 24 is not the year 24.
fn has_whole_year(date: NaiveDate) -> bool {
    date.year() >= 1_000
}

fn date(text: &str) -> Option<String> {
    let dated = DATES
        .iter()
        .find_map(|form| NaiveDate::parse_from_str(text, form).ok())
        .filter(|date| has_whole_year(*date));
    let timed = || {
        let zoned = DateTime::parse_from_rfc3339(text).map(|instant| instant.date_naive());
        zoned.ok().or_else(|| {
            TIMES
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
                .map(|time| time.date())
                .filter(|date| has_whole_year(*date))
        })
    };
    let counted = || {
        let number: i64 = text.parse().ok()?;
        let instant = if number.abs() < MILLISECONDS {
            DateTime::from_timestamp_secs(number)?
        } else {
            DateTime::from_timestamp_millis(number)?
        };
        Some(instant.date_naive())
    };
    let found = dated.or_else(timed).or_else(counted)?;
    Some(found.format("%Y-%m-%d").to_string())
}
