//! What must be prepared before a definition may take effect.

use crate::channel::Fact;
use crate::schema::{
    ConnectorBinding, Definition, Field, FieldType, MatchRule, preparation_fields,
    primary_key_changed,
};

fn changed(change: impl FnOnce(&mut Definition)) -> Definition {
    let mut definition = Definition::default();
    change(&mut definition);
    definition
}

fn bound(definition: &mut Definition) {
    definition.connector_bindings.push(ConnectorBinding {
        channel: "sms".into(),
        profile_field: "phone".into(),
        source: None,
        required: false,
        label: None,
    });
}

fn ruled(definition: &mut Definition) {
    let source = Some(Fact::Email);
    definition.match_rules.push(MatchRule {
        channel: "*".into(),
        field: "full_name".into(),
        source,
        fallback: false,
    });
}

fn prepared(old: &Definition, new: &Definition) -> Vec<String> {
    preparation_fields(old, new)
}

#[test]
fn fields_come_and_go_freely() {
    let more = changed(|definition| {
        definition
            .fields
            .push(Field::new("city", FieldType::Number));
    });
    let none: [&str; 0] = [];
    assert_eq!(prepared(&Definition::default(), &more), none);
    assert_eq!(prepared(&more, &Definition::default()), none);
    assert_eq!(prepared(&Definition::default(), &changed(bound)), none);
}

#[test]
fn a_field_made_unique_is_prepared_and_one_that_no_longer_is_is_not() {
    let unique = changed(|definition| definition.fields[1].unique = true);
    assert_eq!(prepared(&Definition::default(), &unique), ["email"]);
    assert!(prepared(&unique, &Definition::default()).is_empty());
    assert!(prepared(&unique, &unique).is_empty());
    let new = changed(|definition| {
        definition.fields.push(Field {
            unique: true,
            ..Field::new("badge", FieldType::String)
        });
    });
    assert_eq!(prepared(&Definition::default(), &new), ["badge"]);
}

#[test]
fn type_and_region_matter_where_values_are_looked_up() {
    let region =
        |definition: &mut Definition| definition.fields[2].default_region = Some("DE".into());
    assert!(prepared(&Definition::default(), &changed(region)).is_empty());
    let bound_region = changed(|definition| {
        bound(definition);
        region(definition);
    });
    assert_eq!(prepared(&changed(bound), &bound_region), ["phone"]);
    let ruled_type = changed(|definition| {
        ruled(definition);
        definition.fields[3].field_type = FieldType::Email;
    });
    assert_eq!(prepared(&changed(ruled), &ruled_type), ["full_name"]);
}

#[test]
fn the_primary_key_changes_with_its_field_and_its_type() {
    let other = changed(|definition| definition.primary_key = "email".into());
    let number = changed(|definition| definition.fields[0].field_type = FieldType::Number);
    let label = changed(|definition| definition.fields[0].label = Some("Id".into()));
    assert!(primary_key_changed(&Definition::default(), &other));
    assert!(primary_key_changed(&Definition::default(), &number));
    assert!(!primary_key_changed(&Definition::default(), &label));
}
