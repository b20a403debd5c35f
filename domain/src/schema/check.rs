//! What a definition may not say.

use std::collections::BTreeSet;

use super::compiled::compile_pattern;
use super::definition::{CUSTOMER_USER_ID, Definition, Field, FieldType};
use crate::Problem;
use crate::channel::Channel;
use crate::value::phone::Region;

/// The most problems of one answer.
const MOST_PROBLEMS: usize = 64;
/// The most fields of a schema.
const MOST_FIELDS: usize = 512;
/// The most fields whose values are looked up, the id not counted.
const MOST_UNIQUE: usize = 8;
/// The most patterns: each may take a mebibyte once compiled.
const MOST_PATTERNS: usize = 64;
/// The most bindings, rules, and channels with messages, each.
const MOST_CHANNELS: usize = 128;
/// The most allowed values of one field.
const MOST_ALLOWED_VALUES: usize = 1_000;
/// The longest label, message, allowed value or pattern, in characters.
const LONGEST_TEXT: usize = 1_000;
/// The largest definition as JSON text, in bytes.
const LARGEST: usize = 256 * 1024;

impl Definition {
    /// Everything that is wrong with the definition, at most 64 findings. Expects the normalised form.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.fields.len() > MOST_FIELDS {
            return vec![Problem::new(
                ["fields"],
                "too_many_fields",
                "a schema has at most 512 fields",
            )];
        }
        if self.to_json().len() > LARGEST {
            return vec![Problem::new(
                [""; 0],
                "schema_too_large",
                "a schema has at most 256 KiB",
            )];
        }
        self.check_fields(&mut problems);
        self.check_channels(&mut problems);
        if self.field(&self.primary_key).is_none() {
            problems.push(Problem::new(
                ["primary_key"],
                "primary_key_unknown",
                "the primary key must be one of the fields",
            ));
        } else if self
            .field(&self.primary_key)
            .is_some_and(|field| field.field_type == FieldType::Boolean)
        {
            problems.push(Problem::new(
                ["primary_key"],
                "primary_key_type",
                "a truth value identifies nobody",
            ));
        }
        if self.looked_up().len() > MOST_UNIQUE {
            let message = "at most 8 fields may be unique, counting fields of bindings and match rules and the primary key";
            problems.push(Problem::new(["fields"], "too_many_unique_fields", message));
        }
        problems.truncate(MOST_PROBLEMS);
        problems
    }

    /// The fields that count towards the limit of unique ones.
    fn looked_up(&self) -> BTreeSet<&str> {
        let unique = self
            .fields
            .iter()
            .filter(|field| field.unique)
            .map(|field| field.name.as_str());
        let bound = self
            .connector_bindings
            .iter()
            .map(|binding| binding.profile_field.as_str());
        let ruled = self
            .match_rules
            .iter()
            .filter(|rule| rule.channel != "*")
            .map(|rule| rule.field.as_str());
        let mut names: BTreeSet<&str> = unique
            .chain(bound)
            .chain(ruled)
            .chain([self.primary_key.as_str()])
            .collect();
        if self.primary_key == CUSTOMER_USER_ID {
            names.remove(CUSTOMER_USER_ID);
        }
        names
    }

    fn check_fields(&self, problems: &mut Vec<Problem>) {
        let mut names = BTreeSet::new();
        for (place, field) in self.fields.iter().enumerate() {
            let mut found = check_field(field);
            if !names.insert(field.name.as_str()) {
                found.push(Problem::new(
                    ["name"],
                    "field_duplicate",
                    "another field has this name",
                ));
            }
            problems.extend(
                found
                    .into_iter()
                    .map(|problem| problem.under(&place.to_string()).under("fields")),
            );
        }
        if self
            .fields
            .iter()
            .filter(|field| field.pattern.is_some())
            .count()
            > MOST_PATTERNS
        {
            problems.push(Problem::new(
                ["fields"],
                "too_many_patterns",
                "at most 64 fields may have a pattern",
            ));
        }
    }

    fn check_channels(&self, problems: &mut Vec<Problem>) {
        let lists = [
            ("connector_bindings", self.connector_bindings.len()),
            ("match_rules", self.match_rules.len()),
            ("match_messages", self.match_messages.channels.len()),
        ];
        for (name, _) in lists
            .into_iter()
            .filter(|(_, length)| *length > MOST_CHANNELS)
        {
            problems.push(Problem::new(
                [name],
                "too_many_channels",
                "at most 128 entries are allowed",
            ));
        }
        for (place, binding) in self
            .connector_bindings
            .iter()
            .enumerate()
            .take(MOST_CHANNELS)
        {
            let place = place.to_string();
            let at = |member: &str| {
                [
                    "connector_bindings".to_owned(),
                    place.clone(),
                    member.to_owned(),
                ]
            };
            if !is_channel(&binding.channel) {
                problems.push(Problem::new(at("channel"), "channel_invalid", CHANNEL));
            }
            if !is_field_name(&binding.profile_field) {
                problems.push(Problem::new(
                    at("profile_field"),
                    "field_name_invalid",
                    NAME,
                ));
            }
            check_text(binding.label.as_deref(), problems, || at("label"));
        }
        for (place, rule) in self.match_rules.iter().enumerate().take(MOST_CHANNELS) {
            let place = place.to_string();
            let at = |member: &str| ["match_rules".to_owned(), place.clone(), member.to_owned()];
            if rule.channel != "*" && !is_channel(&rule.channel) {
                problems.push(Problem::new(at("channel"), "channel_invalid", CHANNEL));
            }
            if rule.source.is_none() && Channel::find(&rule.channel).is_none() {
                problems.push(Problem::new(
                    at("source"),
                    "value_required",
                    "this channel has no fact of its own",
                ));
            }
            if !is_field_name(&rule.field) {
                problems.push(Problem::new(at("field"), "field_name_invalid", NAME));
            }
        }
        for (member, text) in self.match_messages.default.texts() {
            check_text(text, problems, || ["match_messages", "default", member]);
        }
        for (channel, messages) in self.match_messages.channels.iter().take(MOST_CHANNELS) {
            if !is_channel(channel) {
                problems.push(Problem::new(
                    ["match_messages", "channels"],
                    "channel_invalid",
                    CHANNEL,
                ));
            }
            for (member, text) in messages.texts() {
                check_text(text, problems, || ["match_messages", "channels", member]);
            }
        }
    }
}

const NAME: &str = "must match [A-Za-z_][A-Za-z0-9_]{0,63} and not be 'enabled'";
const CHANNEL: &str = "must match [a-z0-9][a-z0-9_.-]{0,63}";

fn check_field(field: &Field) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |member: &str, kind: &str, message: &str| {
        problems.push(Problem::new([member], kind, message));
    };
    if !is_field_name(&field.name) {
        refuse("name", "field_name_invalid", NAME);
    }
    if field.field_type != FieldType::String && !field.allowed_values.is_empty() {
        refuse(
            "allowed_values",
            "rule_not_applicable",
            "only a string field may have allowed values",
        );
    }
    if field.allowed_values.len() > MOST_ALLOWED_VALUES
        || field
            .allowed_values
            .iter()
            .any(|value| is_too_long(value) || value.contains('\0'))
    {
        refuse(
            "allowed_values",
            "text_too_long",
            "at most 1000 values of at most 1000 characters, without U+0000",
        );
    }
    if let Some(pattern) = &field.pattern {
        if field.field_type == FieldType::Boolean {
            refuse(
                "pattern",
                "rule_not_applicable",
                "a truth value has no pattern",
            );
        } else if is_too_long(pattern)
            || pattern.contains('\0')
            || compile_pattern(pattern).is_none()
        {
            let message = "must be a regular expression without look-around or back-references, and not too large";
            refuse("pattern", "pattern_invalid", message);
        }
    }
    let limits = [
        ("min_value", &field.min_value),
        ("max_value", &field.max_value),
    ];
    for (member, _) in limits.into_iter().filter(|(_, limit)| limit.is_some()) {
        if field.field_type != FieldType::Number {
            refuse(
                member,
                "rule_not_applicable",
                "only a number field may have limits",
            );
        }
    }
    if let (Some(least), Some(most)) = (&field.min_value, &field.max_value)
        && least > most
    {
        refuse(
            "min_value",
            "limits_reversed",
            "must not be greater than max_value",
        );
    }
    if let Some(region) = &field.default_region {
        if field.field_type != FieldType::Phone {
            refuse(
                "default_region",
                "rule_not_applicable",
                "only a phone field may have a region",
            );
        } else if Region::find(region).is_none() {
            refuse(
                "default_region",
                "region_unknown",
                "must be an ISO 3166-1 alpha-2 code of a region with telephones",
            );
        }
    }
    check_text(field.label.as_deref(), &mut problems, || ["label"]);
    problems
}

fn check_text<const N: usize, S: Into<String>>(
    text: Option<&str>,
    problems: &mut Vec<Problem>,
    at: impl Fn() -> [S; N],
) {
    if text.is_some_and(|text| is_too_long(text) || text.contains('\0')) {
        problems.push(Problem::new(
            at(),
            "text_too_long",
            "at most 1000 characters, without U+0000",
        ));
    }
}

fn is_too_long(text: &str) -> bool {
    text.len() > LONGEST_TEXT && text.chars().count() > LONGEST_TEXT
}

/// Whether a schema may have a field of this name.
fn is_field_name(name: &str) -> bool {
    name.len() <= 64
        && name
            .bytes()
            .next()
            .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && name != "enabled"
}

fn is_channel(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(is_letter)
        && name
            .bytes()
            .all(|byte| is_letter(byte) || b"_.-".contains(&byte))
}
