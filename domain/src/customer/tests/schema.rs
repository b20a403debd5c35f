//! Customers under a schema that is about to take effect.

use std::sync::Arc;

use super::given::{AT, customers, erased, registered, schema, unique_email, updated};
use crate::customer::{ApplySchema, CustomerCommand, CustomerEvent};
use crate::schema::{ConnectorBinding, Definition, FieldType, Schema};

fn apply(schema: Arc<Schema>) -> CustomerCommand {
    CustomerCommand::ApplySchema(ApplySchema { schema, at: AT })
}

fn unique_mail_in_full_name(definition: &mut Definition) {
    definition.fields[3].unique = true;
    definition.fields[3].field_type = FieldType::Email;
}

fn claimed(fields: &[&str]) -> CustomerEvent {
    CustomerEvent::FieldsClaimed {
        at: AT,
        claimed: fields.iter().map(|field| (*field).into()).collect(),
    }
}

#[test]
fn a_field_made_unique_is_claimed_where_it_has_a_value() {
    let unique_phone = || schema(|definition| definition.fields[2].unique = true);
    let given = vec![registered(&[
        ("email", "a@b.co"),
        ("phone", "+49301234567"),
    ])];
    let events = vec![claimed(&["email", "phone"])];
    customers()
        .given(given)
        .when(apply(unique_phone()))
        .then_expect_events(events);
    customers()
        .given(vec![registered(&[])])
        .when(apply(unique_phone()))
        .then_expect_events(vec![]);
}

#[test]
fn applying_a_schema_twice_appends_nothing() {
    let given = vec![registered(&[("email", "a@b.co")])];
    customers()
        .given(given)
        .when(apply(unique_email()))
        .then_expect_events(vec![]);
}

#[test]
fn values_of_fields_that_are_looked_up_are_read_anew() {
    let given = vec![registered(&[("full_name", "Ada@B.co")])];
    let events = vec![updated(&[("full_name", "ada@b.co")], &[], &["full_name"])];
    customers()
        .given(given)
        .when(apply(schema(unique_mail_in_full_name)))
        .then_expect_events(events);
    let bound = schema(|definition| {
        definition.fields[3].field_type = FieldType::Email;
        definition.connector_bindings.push(ConnectorBinding {
            channel: "slack".into(),
            profile_field: "full_name".into(),
            source: None,
            required: false,
            label: None,
        });
    });
    let given = vec![registered(&[("full_name", "Ada@B.co")])];
    let events = vec![updated(&[("full_name", "ada@b.co")], &[], &[])];
    customers()
        .given(given)
        .when(apply(bound))
        .then_expect_events(events);
}

#[test]
fn a_value_that_the_new_type_cannot_read_stays() {
    let given = vec![registered(&[("full_name", "Ada")])];
    let events = vec![claimed(&["full_name"])];
    customers()
        .given(given)
        .when(apply(schema(unique_mail_in_full_name)))
        .then_expect_events(events);
}

#[test]
fn nobody_is_brought_in_line_after_an_erasure() {
    customers()
        .given_no_previous_events()
        .when(apply(unique_email()))
        .then_expect_events(vec![]);
    customers()
        .given(vec![registered(&[]), erased()])
        .when(apply(unique_email()))
        .then_expect_events(vec![]);
}
