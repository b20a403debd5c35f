//! A schema as clients send and read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::channel::{self, Fact};
use crate::value::number::Decimal;

/// The name of the field that holds the id where no other primary key is chosen.
pub const CUSTOMER_USER_ID: &str = "customer_user_id";

/// What a project says about its customers. `Default` is the schema of a project that never wrote one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The name of the field that the customer id equals.
    pub primary_key: String,
    /// The fields, in the order of forms and exports.
    pub fields: Vec<Field>,
    /// Which field holds the identity on which channel.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub connector_bindings: Vec<ConnectorBinding>,
    /// How unknown identities are matched to customers, in order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub match_rules: Vec<MatchRule>,
    /// What a channel answers to the person.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub match_messages: MatchMessages,
    /// Whether a rule match links the identity.
    #[serde(default = "yes")]
    pub auto_match: bool,
}

/// One field of the profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// `[A-Za-z_][A-Za-z0-9_]{0,63}`, and not `enabled`.
    pub name: String,
    /// What its values are.
    #[serde(rename = "type", default)]
    pub field_type: FieldType,
    /// Whether a customer must have a value.
    #[serde(default)]
    pub required: bool,
    /// Whether a value belongs to one customer only.
    #[serde(default)]
    pub unique: bool,
    /// A regular expression that the whole canonical value matches.
    #[serde(default)]
    pub pattern: Option<String>,
    /// The only values, compared without case; empty means any.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub allowed_values: Vec<String>,
    /// The smallest number.
    #[serde(default)]
    pub min_value: Option<Decimal>,
    /// The largest number.
    #[serde(default)]
    pub max_value: Option<Decimal>,
    /// What people call the field.
    #[serde(default)]
    pub label: Option<String>,
    /// ISO 3166-1 alpha-2: where a telephone number without `+` is dialled.
    #[serde(default)]
    pub default_region: Option<String>,
}

impl Field {
    /// A field of a type without further rules.
    pub fn new(name: &str, field_type: FieldType) -> Self {
        Self {
            name: name.into(),
            field_type,
            required: false,
            unique: false,
            pattern: None,
            allowed_values: Vec::new(),
            min_value: None,
            max_value: None,
            label: None,
            default_region: None,
        }
    }
}

/// What the values of a field are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text.
    #[default]
    String,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// An exact decimal.
    Number,
    /// A truth value.
    Boolean,
}

/// The field that holds the identity on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorBinding {
    /// The channel.
    pub channel: String,
    /// The field.
    pub profile_field: String,
    /// What the connector gives; by default the fact that the channel uses.
    #[serde(default)]
    pub source: Option<Fact>,
    /// Whether forms ask for it.
    #[serde(default)]
    pub required: bool,
    /// What people call it.
    #[serde(default)]
    pub label: Option<String>,
}

/// One way to match an unknown identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// The channel, or `*` for all.
    pub channel: String,
    /// The field that is looked up.
    pub field: String,
    /// The fact that it is looked up by; by default the one that the channel uses.
    #[serde(default)]
    pub source: Option<Fact>,
    /// Whether the rule is tried only when no other had a value to try.
    #[serde(default)]
    pub fallback: bool,
}

/// What channels answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchMessages {
    /// For every channel.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub default: Messages,
    /// For one channel; what is absent comes from `default`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub channels: BTreeMap<String, Messages>,
}

/// Texts with the placeholders `{display_name}` and `{channel}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// The person was found.
    #[serde(default)]
    pub matched: Option<String>,
    /// Nobody was found.
    #[serde(default)]
    pub unmatched: Option<String>,
    /// Several were found.
    #[serde(default)]
    pub ambiguous: Option<String>,
    /// The customer or the channel is switched off.
    #[serde(default)]
    pub disabled: Option<String>,
    /// The customer may not use the agent.
    #[serde(default)]
    pub no_access: Option<String>,
}

impl Messages {
    /// The texts by the name of their member.
    pub fn texts(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("matched", self.matched.as_deref()),
            ("unmatched", self.unmatched.as_deref()),
            ("ambiguous", self.ambiguous.as_deref()),
            ("disabled", self.disabled.as_deref()),
            ("no_access", self.no_access.as_deref()),
        ]
    }
}

impl Default for Definition {
    fn default() -> Self {
        let id = Field {
            required: true,
            unique: true,
            ..Field::new(CUSTOMER_USER_ID, FieldType::String)
        };
        Self {
            primary_key: CUSTOMER_USER_ID.into(),
            fields: vec![
                id,
                Field::new("email", FieldType::Email),
                Field::new("phone", FieldType::Phone),
                Field::new("full_name", FieldType::String),
            ],
            connector_bindings: Vec::new(),
            match_rules: Vec::new(),
            match_messages: MatchMessages::default(),
            auto_match: true,
        }
    }
}

impl Definition {
    /// The same definition with names trimmed, channels lower-cased, regions upper-cased and blank options absent.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        trim(&mut self.primary_key);
        for field in &mut self.fields {
            trim(&mut field.name);
            field.allowed_values.iter_mut().for_each(trim);
            field.allowed_values.retain(|value| !value.is_empty());
            blank_is_absent(&mut field.pattern);
            blank_is_absent(&mut field.label);
            blank_is_absent(&mut field.default_region);
            if let Some(region) = &mut field.default_region {
                *region = region.trim().to_ascii_uppercase();
            }
        }
        for binding in &mut self.connector_bindings {
            binding.channel = channel::canonical_name(&binding.channel);
            trim(&mut binding.profile_field);
            blank_is_absent(&mut binding.label);
        }
        for rule in &mut self.match_rules {
            rule.channel = channel::canonical_name(&rule.channel);
            trim(&mut rule.field);
        }
        let channels = std::mem::take(&mut self.match_messages.channels);
        self.match_messages.channels = channels
            .into_iter()
            .map(|(name, messages)| (channel::canonical_name(&name), messages))
            .collect();
        self
    }

    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names whose values are looked up: unique, bound and in rules. Without doubles, in byte order.
    pub fn indexed_fields(&self) -> Vec<&str> {
        let unique = self
            .fields
            .iter()
            .filter(|field| field.unique)
            .map(|field| field.name.as_str());
        let bound = self
            .connector_bindings
            .iter()
            .map(|binding| binding.profile_field.as_str());
        let ruled = self.match_rules.iter().map(|rule| rule.field.as_str());
        let mut names: Vec<&str> = unique.chain(bound).chain(ruled).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The definition as JSON text, as the log and snapshots keep it.
    ///
    /// # Panics
    /// Never: every member has a JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a definition always serialises")
    }
}

/// How a definition is part of a serialised state: itself in JSON, as JSON text in positional encodings.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    use super::Definition;

    /// Writes a definition.
    pub fn serialize<S: Serializer>(
        definition: &Definition,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            definition.serialize(serializer)
        } else {
            serializer.serialize_str(&definition.to_json())
        }
    }

    /// Reads a definition.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Definition, D::Error> {
        if deserializer.is_human_readable() {
            Definition::deserialize(deserializer)
        } else {
            let text = String::deserialize(deserializer)?;
            serde_json::from_str(&text).map_err(D::Error::custom)
        }
    }
}

fn yes() -> bool {
    true
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn trim(text: &mut String) {
    let trimmed = text.trim();
    if trimmed.len() < text.len() {
        *text = trimmed.to_owned();
    }
}

fn blank_is_absent(text: &mut Option<String>) {
    if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
        *text = None;
    }
}
