//! Reading values by the rules of their field.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::compiled::{CompiledField, Schema};
use super::definition::{CUSTOMER_USER_ID, FieldType};
use crate::Problem;
use crate::value::{self, Input, Profile, SmolStr, Value, boolean, email, number, phone, text};

/// The most fields outside the schema.
const MOST_EXTRA: usize = 64;
/// The largest value outside the schema, in bytes.
const LARGEST_EXTRA: usize = 4 * 1024;
/// The longest name outside the schema, in characters.
const LONGEST_NAME: usize = 128;
/// The largest profile as JSON text, in bytes.
const LARGEST_PROFILE: usize = 64 * 1024;

impl Schema {
    /// The canonical value of one input; `None` where it is empty, which clears the field.
    ///
    /// A field outside the schema keeps a scalar as it is (text trimmed, at most 4 KiB). Its name has 1 to 128
    /// characters, no controls and no blanks around it, and is neither `enabled` nor `customer_user_id`.
    ///
    /// # Errors
    /// A problem at `["profile", field]`.
    pub fn read_value(&self, field: &str, input: &Input) -> Result<Option<Value>, Problem> {
        let read = match self.field(field) {
            Some(field) => field.read(input),
            None => check_extra_name(field).and_then(|()| read_extra(input)),
        };
        read.map_err(|problem| problem.under(field).under("profile"))
    }

    /// Reads a stored value anew, as after a change of the schema.
    ///
    /// # Errors
    /// A problem at `["profile", field]` where the field's rules do not allow it.
    pub fn read_stored(&self, field: &str, value: &Value) -> Result<Option<Value>, Problem> {
        self.read_value(field, &Input::from(value))
    }

    /// Spells changes made under another schema as this one does, where it can read them.
    ///
    /// While a preparation runs, values are read by the active schema; called on the pending one this makes the claims
    /// of new writes comparable with those that the preparation takes.
    pub fn respell(&self, changes: &mut BTreeMap<SmolStr, Option<Value>>) {
        for field in self.indexed_fields() {
            if let Some(Some(value)) = changes.get_mut(field)
                && let Ok(Some(canonical)) = self.read_stored(field, value)
            {
                *value = canonical;
            }
        }
    }

    /// What is too much: more than 64 fields outside the schema, or more than 64 KiB in all.
    pub fn check_profile_size(&self, profile: &Profile) -> Vec<Problem> {
        let mut problems = Vec::new();
        if profile.len() > MOST_EXTRA
            && profile
                .keys()
                .filter(|name| self.field(name).is_none())
                .count()
                > MOST_EXTRA
        {
            problems.push(Problem::new(
                ["profile"],
                "too_many_fields",
                "at most 64 fields outside the schema",
            ));
        }
        // Six bytes are the longest escape of one byte in JSON.
        let size: usize = profile
            .iter()
            .map(|(name, value)| name.len() + value.as_text().len() + 6)
            .sum();
        if size * 6 > LARGEST_PROFILE && value::profile_json(profile).len() > LARGEST_PROFILE {
            problems.push(Problem::new(
                ["profile"],
                "profile_too_large",
                "a profile has at most 64 KiB",
            ));
        }
        problems
    }
}

impl CompiledField {
    /// The canonical value of an input, held against every rule of the field.
    pub(super) fn read(&self, input: &Input) -> Result<Option<Value>, Problem> {
        let Some(value) = self.canonical(input)? else {
            return Ok(None);
        };
        let value = match value {
            Value::Text(text) if !self.allowed.is_empty() => {
                match self.allowed.get(&text.to_lowercase()) {
                    Some(spelling) => return Ok(Some(Value::Text(spelling.as_str().into()))),
                    None => {
                        return Err(problem(
                            "value_not_allowed",
                            "must be one of the allowed values",
                        ));
                    }
                }
            }
            other => other,
        };
        if self
            .pattern
            .as_ref()
            .is_some_and(|pattern| !pattern.is_match(value.as_text()))
        {
            return Err(problem(
                "pattern_mismatch",
                "must match the pattern of the field",
            ));
        }
        if let Value::Number(digits) = &value {
            let compared = |limit: Option<&number::Decimal>| {
                limit.map(|limit| number::compare(digits, limit.as_str()))
            };
            if compared(self.definition().min_value.as_ref()) == Some(Ordering::Less) {
                return Err(problem(
                    "value_too_small",
                    "must not be smaller than the field's min_value",
                ));
            }
            if compared(self.definition().max_value.as_ref()) == Some(Ordering::Greater) {
                return Err(problem(
                    "value_too_large",
                    "must not be greater than the field's max_value",
                ));
            }
        }
        Ok(Some(value))
    }

    /// The canonical value of an input by the field's type alone.
    pub(super) fn canonical(&self, input: &Input) -> Result<Option<Value>, Problem> {
        let text = match input {
            Input::Null => return Ok(None),
            Input::Nested => return Err(nested()),
            Input::Bool(flag) => match self.field_type() {
                FieldType::Boolean => return Ok(Some(Value::Bool(*flag))),
                FieldType::String => {
                    return Ok(Some(Value::Text(Value::Bool(*flag).as_text().into())));
                }
                FieldType::Email | FieldType::Phone | FieldType::Number => {
                    return Err(problem("value_type", "must not be a truth value"));
                }
            },
            Input::Number(text) | Input::Text(text) => text,
        };
        let text = text::canonical(text).ok_or_else(nul)?;
        if text.is_empty() {
            return Ok(None);
        }
        let value = match self.field_type() {
            FieldType::String => Some(Value::Text(text.into())),
            FieldType::Email => email::canonical(text).map(|address| Value::Text(address.into())),
            FieldType::Phone => {
                phone::typed(text, self.region.as_ref()).map(|number| Value::Text(number.into()))
            }
            FieldType::Number => number::canonical(text).map(|digits| Value::Number(digits.into())),
            FieldType::Boolean => boolean::canonical(text).map(Value::Bool),
        };
        value.map(Some).ok_or_else(|| match self.field_type() {
            FieldType::Email => problem("email_invalid", "must be an e-mail address"),
            FieldType::Phone => problem(
                "phone_invalid",
                "must be a telephone number of 7 to 15 digits",
            ),
            FieldType::Number => problem(
                "number_invalid",
                "must be a decimal number of at most 100 digits",
            ),
            FieldType::Boolean => problem("boolean_invalid", "must be true or false"),
            FieldType::String => problem("value_type", "must be text"),
        })
    }

    /// The spelling that the allowed values prefer, if they know the text.
    pub(super) fn preferred_spelling<'a>(&'a self, text: &'a str) -> &'a str {
        if self.allowed.is_empty() {
            return text;
        }
        self.allowed
            .get(&text.to_lowercase())
            .map_or(text, String::as_str)
    }
}

fn read_extra(input: &Input) -> Result<Option<Value>, Problem> {
    let too_large = || {
        problem(
            "text_too_long",
            "a value outside the schema has at most 4 KiB",
        )
    };
    match input {
        Input::Null => Ok(None),
        Input::Nested => Err(nested()),
        Input::Bool(flag) => Ok(Some(Value::Bool(*flag))),
        Input::Number(text) => match number::canonical(text) {
            Some(digits) => Ok(Some(Value::Number(digits.into()))),
            None => Err(problem(
                "number_invalid",
                "must be a decimal number of at most 100 digits",
            )),
        },
        Input::Text(text) => match text::canonical(text).ok_or_else(nul)? {
            "" => Ok(None),
            text if text.len() > LARGEST_EXTRA => Err(too_large()),
            text => Ok(Some(Value::Text(text.into()))),
        },
    }
}

fn check_extra_name(name: &str) -> Result<(), Problem> {
    let is_bounded = !name.is_empty() && name.chars().count() <= LONGEST_NAME;
    if !is_bounded || name.trim() != name || name.chars().any(char::is_control) {
        let message = "a name has 1 to 128 characters, no controls and no blanks around it";
        return Err(problem("field_name_invalid", message));
    }
    if name == "enabled" || name == CUSTOMER_USER_ID {
        return Err(problem(
            "field_name_reserved",
            "the name belongs to the record, not to the profile",
        ));
    }
    Ok(())
}

fn problem(kind: &str, message: &str) -> Problem {
    Problem::new([""; 0], kind, message)
}

fn nested() -> Problem {
    problem(
        "value_type",
        "must be text, a number, a truth value or null",
    )
}

fn nul() -> Problem {
    problem("text_nul", "must not hold U+0000")
}
