//! What a search looks at, made from a listed customer. Pure.

use roster_domain::value::Value;
use roster_domain::value::fold::{digits, fold};

use crate::bucket::exact;
use crate::customers::fold::Listed;
use crate::customers::write::storable;

/// How many characters short searches compare.
const START: usize = 2;
/// The fewest digits of a telephone number.
const PHONE_DIGITS: usize = 7;

pub(crate) struct SearchRow {
    pub(crate) id_start: String,
    pub(crate) name_start: String,
    pub(crate) exact: Vec<i64>,
    pub(crate) haystack: String,
}

impl SearchRow {
    pub(crate) fn of(listed: &Listed) -> Self {
        let id = fold(listed.id());
        let profile = listed.customer.profile.known();
        let mut haystack = id.clone();
        let mut hashes = Vec::new();
        for (field, value) in profile.into_iter().flatten() {
            let text = value.as_text();
            hashes.push(exact(listed.project_no, field, text));
            if matches!(value, Value::Bool(_)) || text == listed.id() {
                continue;
            }
            haystack.push('\n');
            haystack.push_str(&fold(text));
            if let Some(number) = phone_digits(text) {
                haystack.push('\n');
                haystack.push_str(&number);
            }
        }
        if let Some(number) = phone_digits(listed.id()) {
            haystack.push('\n');
            haystack.push_str(&number);
        }
        Self {
            id_start: storable(start(listed.project_no, &id)),
            name_start: storable(start(
                listed.project_no,
                &fold(&listed.customer.display_name()),
            )),
            exact: hashes,
            haystack: storable(haystack),
        }
    }
}

/// The project and the first characters of a folded text: what short searches compare.
pub(crate) fn start(project_no: i32, folded: &str) -> String {
    let first: String = folded.chars().take(START).collect();
    format!("{project_no:08x}{first}")
}

/// The digits of a text that looks like a telephone number and is not digits only.
fn phone_digits(text: &str) -> Option<String> {
    let looks_like_one = text
        .chars()
        .all(|letter| letter.is_numeric() || " +()-./\u{a0}".contains(letter));
    let found = if looks_like_one {
        digits(text)
    } else {
        String::new()
    };
    (found.len() >= PHONE_DIGITS && found != text).then_some(found)
}

#[cfg(test)]
mod tests {
    use roster_domain::Personal;
    use roster_domain::customer::{Customer, Status};
    use roster_domain::value::Value;

    use super::{SearchRow, phone_digits};
    use crate::bucket::exact;
    use crate::customers::fold::Listed;

    #[test]
    fn a_row_is_found_by_folded_values_and_by_digits() {
        let text = |text: &str| Value::Text(text.into());
        let customer = Customer {
            status: Status::Active,
            customer_user_id: Personal::new("Ada".into()),
            profile: Personal::new(
                [
                    ("customer_user_id".into(), text("Ada")),
                    ("full_name".into(), text("Ádá O’Neil")),
                    ("phone".into(), text("+49 170-1234567")),
                    ("vip".into(), Value::Bool(true)),
                ]
                .into(),
            ),
            ..Customer::default()
        };
        let row = SearchRow::of(&Listed {
            project_no: 3,
            position: 9,
            customer,
        });
        assert_eq!(
            row.haystack,
            "ada\nada o'neil\n+49 170-1234567\n491701234567"
        );
        assert_eq!(
            (row.id_start.as_str(), row.name_start.as_str()),
            ("00000003ad", "00000003ad")
        );
        assert!(row.exact.contains(&exact(3, "full_name", "Ádá O’Neil")));
        assert_eq!(row.exact.len(), 4);
    }

    #[test]
    fn only_telephone_numbers_are_digits() {
        assert_eq!(
            phone_digits("+1 (555) 010-9999").as_deref(),
            Some("15550109999")
        );
        assert_eq!(phone_digits("15550109999"), None);
        assert_eq!(phone_digits("u0001234567"), None);
        assert_eq!(phone_digits("12-34"), None);
    }
}
