//! What lies between two definitions.

use super::definition::{Definition, FieldType};

/// Whether customers would be identified by something else: another field, or the same one read in another way.
///
/// Ids never change and equal the canonical primary-key value, so another type or region counts too.
pub fn primary_key_changed(old: &Definition, new: &Definition) -> bool {
    old.primary_key != new.primary_key
        || reading(old, &old.primary_key) != reading(new, &new.primary_key)
}

/// The fields whose stored values must be read anew or claimed before the new definition may take effect.
///
/// These are fields made unique, unique, bound or rule fields whose type or region changes, and unique fields that get other
/// allowed values, for these say how a value is spelled; a field outside a schema counts as a string. A field that is no
/// longer unique needs nothing: its claims go with the next change of each customer. The primary key is not among them: it
/// may not change.
pub fn preparation_fields(old: &Definition, new: &Definition) -> Vec<String> {
    let is_unique = |definition: &Definition, name: &str| {
        definition.field(name).is_some_and(|field| field.unique)
    };
    new.indexed_fields()
        .into_iter()
        .filter(|name| *name != new.primary_key && *name != super::definition::CUSTOMER_USER_ID)
        .filter(|name| {
            (is_unique(new, name) && (!is_unique(old, name) || is_respelled(old, new, name)))
                || reading(old, name) != reading(new, name)
        })
        .map(str::to_owned)
        .collect()
}

/// Whether values get the spelling of allowed values that the field had not before.
fn is_respelled(old: &Definition, new: &Definition, name: &str) -> bool {
    let had = allowed(old, name);
    allowed(new, name).iter().any(|value| !had.contains(value))
}

fn allowed<'a>(definition: &'a Definition, name: &str) -> &'a [String] {
    let field = definition.field(name);
    field.map_or(&[], |field| &field.allowed_values)
}

/// What decides how a field's values are read.
fn reading<'a>(definition: &'a Definition, name: &str) -> (FieldType, Option<&'a str>) {
    definition
        .field(name)
        .map_or((FieldType::String, None), |field| {
            (field.field_type, field.default_region.as_deref())
        })
}
