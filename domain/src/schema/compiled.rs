//! A schema ready for use: patterns compiled, fields found by name.

use std::collections::{BTreeMap, HashMap};

use regex::{Regex, RegexBuilder};

use super::definition::{CUSTOMER_USER_ID, Definition, Field, FieldType};
use crate::access::{ConnectorIdentity, WILDCARD};
use crate::channel::{self, Channel};
use crate::value::phone::Region;
use crate::value::{Input, Profile, SmolStr, Value};
use crate::{Problem, value};

/// The most memory of one compiled pattern, and of its cache of states, in bytes.
const PATTERN_MEMORY: usize = 1 << 20;

/// A checked definition with its version. Immutable; shared behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Schema {
    definition: Definition,
    version: i32,
    fields: Vec<CompiledField>,
    places: HashMap<String, usize>,
    indexed: Vec<String>,
}

/// A field with what reading its values needs.
#[derive(Clone, Debug)]
pub struct CompiledField {
    definition: Field,
    pub(super) pattern: Option<Regex>,
    /// The canonical spelling by its lower case.
    pub(super) allowed: HashMap<String, String>,
    pub(super) region: Option<Region>,
}

impl CompiledField {
    /// What the schema says about the field.
    pub const fn definition(&self) -> &Field {
        &self.definition
    }

    /// The field's name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// What its values are.
    pub const fn field_type(&self) -> FieldType {
        self.definition.field_type
    }

    fn compile(field: &Field) -> Self {
        let mut allowed = HashMap::new();
        for spelling in &field.allowed_values {
            allowed
                .entry(spelling.to_lowercase())
                .or_insert_with(|| spelling.clone());
        }
        Self {
            pattern: field.pattern.as_deref().and_then(compile_pattern),
            allowed,
            region: field.default_region.as_deref().and_then(Region::find),
            definition: field.clone(),
        }
    }
}

/// A pattern that a whole value matches, in linear time and bounded memory; `None` if it is none.
pub(super) fn compile_pattern(pattern: &str) -> Option<Regex> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_MEMORY)
            .dfa_size_limit(PATTERN_MEMORY)
            .build()
    };
    // A pattern with unbalanced brackets could become whole by the wrapping.
    build(pattern)
        .and_then(|_| build(&format!(r"\A(?:{pattern})\z")))
        .ok()
}

impl Schema {
    /// Checks and compiles a definition; its normalised form is kept.
    pub fn compile(definition: Definition, version: i32) -> Result<Self, Vec<Problem>> {
        let definition = definition.normalised();
        let problems = definition.check();
        if !problems.is_empty() {
            return Err(problems);
        }
        let fields: Vec<CompiledField> = definition
            .fields
            .iter()
            .map(CompiledField::compile)
            .collect();
        let places = fields
            .iter()
            .enumerate()
            .map(|(place, field)| (field.name().to_owned(), place))
            .collect();
        let indexed = definition
            .indexed_fields()
            .into_iter()
            .map(str::to_owned)
            .collect();
        Ok(Self {
            definition,
            version,
            fields,
            places,
            indexed,
        })
    }

    /// The normalised definition.
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The version of the project's schema; 0 for the default one.
    pub const fn version(&self) -> i32 {
        self.version
    }

    /// The name of the primary-key field.
    pub fn primary_key(&self) -> &str {
        &self.definition.primary_key
    }

    /// The field with this name; `None` for extra fields.
    pub fn field(&self, name: &str) -> Option<&CompiledField> {
        self.places
            .get(name)
            .and_then(|place| self.fields.get(*place))
    }

    /// The fields in schema order.
    pub fn fields(&self) -> impl Iterator<Item = &CompiledField> {
        self.fields.iter()
    }

    /// The fields that a customer must have a value of; not those that hold the id, which every customer has.
    pub fn required_fields(&self) -> impl Iterator<Item = &str> {
        let required = self.fields.iter().filter(|field| field.definition.required);
        required
            .map(CompiledField::name)
            .filter(|name| !self.is_id(name))
    }

    /// The fields marked unique; not the primary key nor `customer_user_id`, which the claim on the id keeps unique.
    pub fn unique_fields(&self) -> impl Iterator<Item = &str> {
        let unique = self.fields.iter().filter(|field| field.definition.unique);
        unique
            .map(CompiledField::name)
            .filter(|name| !self.is_id(name))
    }

    /// The fields whose values are looked up (unique, bound, in rules), in byte order; not those that hold the id.
    pub fn indexed_fields(&self) -> impl Iterator<Item = &str> {
        self.indexed
            .iter()
            .map(String::as_str)
            .filter(|name| !self.is_id(name))
    }

    /// Whether a field holds the id: the primary key, and `customer_user_id` where another field is the primary key.
    fn is_id(&self, name: &str) -> bool {
        name == self.primary_key() || name == CUSTOMER_USER_ID
    }

    /// Whether the values of a field are telephone numbers.
    pub fn is_phone(&self, name: &str) -> bool {
        self.field(name)
            .is_some_and(|field| field.field_type() == FieldType::Phone)
    }

    /// The canonical name of a channel of the catalogue or of this schema.
    pub fn channel(&self, text: &str) -> Result<String, Problem> {
        let name = channel::canonical_name(text);
        let is_known = Channel::find(&name).is_some() || self.channels().any(|known| known == name);
        if is_known {
            Ok(name)
        } else {
            Err(Problem::new(
                ["channel"],
                "channel_unknown",
                "must be a channel of the catalogue or of the schema",
            ))
        }
    }

    /// The channels that bindings and rules name, in that order; a channel may come twice.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        let bound = self
            .definition
            .connector_bindings
            .iter()
            .map(|binding| binding.channel.as_str());
        let ruled = self
            .definition
            .match_rules
            .iter()
            .map(|rule| rule.channel.as_str());
        bound.chain(ruled.filter(|channel| *channel != "*"))
    }

    /// The field that holds the identity on a channel: of its binding, else of its first rule, else
    /// `<channel>_primary_key`. The name is canonical.
    pub fn bound_field(&self, channel: &str) -> String {
        let binding = self
            .definition
            .connector_bindings
            .iter()
            .find(|binding| binding.channel == channel);
        let rule = || {
            self.definition
                .match_rules
                .iter()
                .find(|rule| rule.channel == channel)
        };
        match (binding, rule()) {
            (Some(binding), _) => binding.profile_field.clone(),
            (None, Some(rule)) => rule.field.clone(),
            (None, None) => format!("{channel}_primary_key"),
        }
    }

    /// Whether a binding makes a field the key of a channel, whose name is canonical.
    pub fn binds(&self, channel: &str) -> bool {
        let mut bindings = self.definition.connector_bindings.iter();
        bindings.any(|binding| binding.channel == channel)
    }

    /// The identity of texts that someone typed: a number may be national to the region of the bound field.
    ///
    /// # Errors
    /// A problem at `channel` or `external_user_id`; the wildcard is no identity.
    pub fn identity(
        &self,
        channel: &str,
        external_user_id: &str,
    ) -> Result<ConnectorIdentity, Problem> {
        let channel = self.channel(channel)?;
        let field = self.field(&self.bound_field(&channel));
        let region = field.and_then(|field| field.region.as_ref());
        let id = value::identity::typed(&channel, external_user_id, region)
            .filter(|id| id != WILDCARD)
            .ok_or_else(|| {
                let message = "must be an external user id of the channel";
                Problem::new(["external_user_id"], "identity_invalid", message)
            })?;
        Ok(ConnectorIdentity {
            channel,
            external_user_id: id,
        })
    }

    /// The customer id of a text: as the type of the primary-key field spells it, then 1 to 256 characters.
    ///
    /// Patterns, limits and allowed values are not asked, so that customers older than a stricter schema stay within
    /// reach; a new customer's id passes them when it is registered.
    pub fn canonical_id(&self, text: &str) -> Result<String, Problem> {
        let id = value::customer_user_id(text)?;
        let Some(field) = self.field(self.primary_key()) else {
            return Ok(id);
        };
        let spelled = field
            .canonical(&Input::Text(id.into()))
            .map_err(|mut problem| {
                problem.loc = vec![CUSTOMER_USER_ID.into()];
                problem
            })?;
        match spelled {
            Some(value) => value::customer_user_id(field.preferred_spelling(value.as_text())),
            None => Err(Problem::new(
                [CUSTOMER_USER_ID],
                "value_required",
                "an id is required",
            )),
        }
    }

    /// Whether every value is what the schema would keep, and none is missing.
    pub fn profile_valid(&self, profile: &Profile) -> bool {
        self.fields
            .iter()
            .all(|field| match profile.get(field.name()) {
                Some(value) => field
                    .read(&Input::from(value))
                    .is_ok_and(|read| read.as_ref() == Some(value)),
                None => !field.definition.required || self.is_id(field.name()),
            })
    }

    /// The changes of an upsert by field, `None` where the value is cleared. Every problem is found, at most 64.
    pub fn read_profile(
        &self,
        inputs: impl IntoIterator<Item = (SmolStr, Input)>,
    ) -> Result<BTreeMap<SmolStr, Option<Value>>, Vec<Problem>> {
        let mut changes = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, input) in inputs {
            match self.read_value(&name, &input) {
                Ok(value) => {
                    changes.insert(name, value);
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.truncate(64);
        if problems.is_empty() {
            Ok(changes)
        } else {
            Err(problems)
        }
    }
}
