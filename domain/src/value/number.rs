//! Exact decimals as text: no value ever passes through a binary fraction.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

use super::Input;

/// The most digits that a canonical number has, before and after the point together.
pub const MOST_DIGITS: usize = 100;

/// The longest text that is looked at: digits, thousands commas, a point, a sign and an exponent.
const LONGEST: usize = 256;

/// The canonical spelling of a decimal; `None` where the text is none.
///
/// Canonical is `-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?`, never `-0`, with at most [`MOST_DIGITS`] digits. Read are a sign
/// (`+`, `-`, `−`), digits with or without thousands commas (`1,234,567`, also `12,34,567`), a point, and an exponent.
/// A comma in any other place is refused, since it may have been meant as a point.
pub fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let (negative, unsigned) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let whole = without_commas(whole)?;
    if !is_digits(&whole) || !is_digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    spell(
        negative,
        &format!("{whole}{fraction}"),
        i64::try_from(whole.len()).ok()? + exponent,
    )
}

/// Exponents beyond four digits cannot give a bounded number, unless it is zero.
fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.trim_start_matches('0');
    let size = if size.len() > 4 {
        10_000
    } else {
        format!("0{size}").parse().ok()?
    };
    Some(if text.starts_with('-') { -size } else { size })
}

/// Removes thousands commas: the last group has three digits, those before it two or three.
fn without_commas(whole: &str) -> Option<String> {
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let Some((last, middle)) = rest.split_last() else {
        return Some(first.into());
    };
    let fits = (1..=3).contains(&first.len())
        && middle.iter().all(|group| (2..=3).contains(&group.len()))
        && last.len() == 3;
    fits.then(|| whole.replace(',', ""))
}

/// The spelling of digits with a point after the first `point` of them; `point` may lie outside.
fn spell(negative: bool, digits: &str, point: i64) -> Option<String> {
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Some("0".into());
    }
    let point = point - i64::try_from(leading).ok()?;
    let length = i64::try_from(significant.len()).ok()?;
    let most = i64::try_from(MOST_DIGITS).ok()?;
    if point.max(length) > most || length - point > most || length.max(length - point) > most {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    Some(if point <= 0 {
        format!("{sign}0.{}{significant}", zeros(-point))
    } else if point >= length {
        format!("{sign}{significant}{}", zeros(point - length))
    } else {
        let (whole, fraction) = significant.split_at(usize::try_from(point).ok()?);
        format!("{sign}{whole}.{fraction}")
    })
}

/// Compares two canonical decimals by size.
pub fn compare(left: &str, right: &str) -> Ordering {
    match (left.strip_prefix('-'), right.strip_prefix('-')) {
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => compare_unsigned(left, right),
        (Some(left), Some(right)) => compare_unsigned(right, left),
    }
}

fn compare_unsigned(left: &str, right: &str) -> Ordering {
    let (left_whole, left_fraction) = left.split_once('.').unwrap_or((left, ""));
    let (right_whole, right_fraction) = right.split_once('.').unwrap_or((right, ""));
    left_whole
        .len()
        .cmp(&right_whole.len())
        .then_with(|| left_whole.cmp(right_whole))
        .then_with(|| left_fraction.cmp(right_fraction))
}

/// A canonical decimal. In JSON it is a number with exact digits; text is read too.
///
/// Reading needs `serde_json` itself: a detour over `flatten` or `untagged` loses the digits and is refused.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// The decimal of a text; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        canonical(text).map(Self)
    }

    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.clone())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match Input::from_json(&raw) {
            Input::Number(text) | Input::Text(text) => Self::parse(&text),
            Input::Null | Input::Bool(_) | Input::Nested => None,
        }
        .ok_or_else(|| D::Error::custom("expected a decimal number of at most 100 digits"))
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::{Decimal, canonical, compare};

    #[test]
    fn spellings_of_one_number_meet() {
        for (text, expected) in [
            ("7", "7"),
            ("007", "7"),
            ("+7.0", "7"),
            (" 7. ", "7"),
            ("0.7e1", "7"),
            ("70E-1", "7"),
            ("-0", "0"),
            ("-0.00", "0"),
            ("0e999999", "0"),
            (".5", "0.5"),
            ("-.50", "-0.5"),
            ("\u{2212}12.50", "-12.5"),
            ("1,234", "1234"),
            ("-1,234,567.8", "-1234567.8"),
            ("12,34,567", "1234567"),
            ("1e3", "1000"),
            ("1.5e-3", "0.0015"),
            (
                "12345678901234567890.123456789",
                "12345678901234567890.123456789",
            ),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_bounded_decimal_is_refused() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e3",
            "1e",
            "1e+",
            "1,5",
            "1,23",
            "12,3456",
            ",123",
            "1,,234",
            "1.2.3",
            "1.2,345",
            "0x1",
            "NaN",
            "inf",
            "1 2",
            "--1",
            "1e101",
            "1e-101",
            "1e99999999999999999999",
            "१",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert!(canonical(&"9".repeat(100)).is_some());
        assert!(canonical(&"9".repeat(101)).is_none());
    }

    #[test]
    fn numbers_compare_by_size() {
        let sorted = [
            "-100", "-12.5", "-12", "-0.01", "0", "0.009", "0.1", "0.11", "2", "10", "10.5",
        ];
        for (place, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), place.cmp(&other), "{left} {right}");
            }
        }
    }

    #[test]
    fn limits_keep_their_digits_through_json() {
        let text = "[0.1,12345678901234567890.5]";
        let limits: Vec<Decimal> = serde_json::from_str(text).expect("numbers");
        assert_eq!(serde_json::to_string(&limits).expect("numbers"), text);
        let limits: Vec<Decimal> = serde_json::from_str(r#"["1,000.50"]"#).expect("text");
        assert_eq!(serde_json::to_string(&limits).expect("numbers"), "[1000.5]");
        assert!(serde_json::from_str::<Decimal>("true").is_err());
    }

    proptest! {
        #[test]
        fn canonical_of_canonical_is_itself(text in r"[-+]?[0-9]{0,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,3})?|\PC{0,12}") {
            if let Some(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Some(once.clone()));
                prop_assert_eq!(compare(&once, &once), Ordering::Equal);
            }
        }

        #[test]
        fn integers_keep_value_and_order(left in any::<i64>(), right in any::<i64>()) {
            let (one, two) = (canonical(&left.to_string()), canonical(&right.to_string()));
            prop_assert_eq!(&one, &Some(left.to_string()));
            prop_assert_eq!(compare(&one.unwrap_or_default(), &two.unwrap_or_default()), left.cmp(&right));
        }
    }
}
