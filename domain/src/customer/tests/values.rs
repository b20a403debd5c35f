//! Required values, primary keys, sizes, claims.

use std::sync::Arc;

use super::given::{customers, profile, registered, schema, text, updated, upsert};
use crate::customer::{CustomerEvent, CustomerRefusal, Upsert, decide};
use crate::schema::{Field, FieldType, Schema};
use crate::value::Value;
use crate::{Personal, customer::Customer};

fn required_city() -> Arc<Schema> {
    schema(|definition| {
        definition.fields.push(Field {
            required: true,
            ..Field::new("city", FieldType::String)
        });
    })
}

fn invalid_kinds(refusal: CustomerRefusal) -> Vec<(Vec<String>, String)> {
    match refusal {
        CustomerRefusal::Invalid(problems) => problems
            .into_iter()
            .map(|problem| (problem.loc, problem.kind))
            .collect(),
        other => panic!("invalid expected, not {other}"),
    }
}

fn missing_city(result: Result<Vec<CustomerEvent>, CustomerRefusal>) {
    let loc = vec!["profile".to_owned(), "city".to_owned()];
    assert_eq!(
        invalid_kinds(result.expect_err("refused")),
        [(loc, "value_required".to_owned())]
    );
}

#[test]
fn a_new_customer_has_every_required_value() {
    let command = Upsert {
        schema: required_city(),
        ..upsert(&[("phone", Some("+49301234567"))])
    };
    missing_city(
        customers()
            .given_no_previous_events()
            .when(command.into())
            .inspect_result(),
    );
}

#[test]
fn an_update_is_held_only_to_the_required_fields_that_it_names() {
    let city = || vec![registered(&[("city", "Rome")])];
    let command = |changes: &[(&str, Option<&str>)]| Upsert {
        schema: required_city(),
        ..upsert(changes)
    };
    missing_city(
        customers()
            .given(city())
            .when(command(&[("city", None)]).into())
            .inspect_result(),
    );
    let older = vec![registered(&[])];
    let events = vec![updated(&[("full_name", "Ada")], &[], &[])];
    customers()
        .given(older)
        .when(command(&[("full_name", Some("Ada"))]).into())
        .then_expect_events(events);
    let replace = Upsert {
        replace: true,
        ..command(&[("full_name", Some("Ada"))])
    };
    missing_city(
        customers()
            .given(city())
            .when(replace.into())
            .inspect_result(),
    );
}

#[test]
fn the_primary_key_agrees_with_the_id() {
    let command = |value| upsert(&[("customer_user_id", Some(value))]);
    let refused = CustomerRefusal::PrimaryKeyMismatch;
    customers()
        .given_no_previous_events()
        .when(command("eve").into())
        .then_expect_error(refused.clone());
    customers()
        .given(vec![registered(&[])])
        .when(command("eve").into())
        .then_expect_error(refused);
    customers()
        .given_no_previous_events()
        .when(command("ada").into())
        .then_expect_events(vec![registered(&[])]);
}

#[test]
fn the_id_fills_an_absent_primary_key_and_a_cleared_one() {
    customers()
        .given_no_previous_events()
        .when(upsert(&[]).into())
        .then_expect_events(vec![registered(&[])]);
    let clear = upsert(&[("customer_user_id", None)]);
    customers()
        .given(vec![registered(&[])])
        .when(clear.into())
        .then_expect_events(vec![]);
}

#[test]
fn a_primary_key_of_another_type_is_filled_in_that_type() {
    let schema = schema(|definition| {
        definition
            .fields
            .push(Field::new("number", FieldType::Number));
        definition.primary_key = "number".into();
    });
    let command = |id: &str| Upsert {
        schema: Arc::clone(&schema),
        customer_user_id: id.into(),
        ..upsert(&[])
    };
    let events = decide(&Customer::default(), &command("7").into()).expect("allowed");
    let [CustomerEvent::Registered { profile, .. }] = &events[..] else {
        panic!("one registration")
    };
    assert_eq!(
        *profile,
        Personal::new([("number".into(), Value::Number("7".into()))].into())
    );
    let spelled = decide(&Customer::default(), &command("007").into());
    assert_eq!(spelled, Err(CustomerRefusal::PrimaryKeyMismatch));
}

#[test]
fn the_id_of_a_new_customer_passes_the_rules_of_the_primary_key() {
    let schema = schema(|definition| definition.fields[0].pattern = Some("[0-9]+".into()));
    let command = || Upsert {
        schema: Arc::clone(&schema),
        ..upsert(&[("phone", Some("+49301234567"))])
    };
    let refusal = customers()
        .given_no_previous_events()
        .when(command().into())
        .inspect_result();
    assert_eq!(
        invalid_kinds(refusal.expect_err("refused"))[0].1,
        "pattern_mismatch"
    );
    let events = vec![updated(&[("phone", "+49301234567")], &[], &[])];
    customers()
        .given(vec![registered(&[])])
        .when(command().into())
        .then_expect_events(events);
}

#[test]
fn a_profile_that_grows_too_large_is_refused() {
    let names: Vec<String> = (0..65).map(|place| format!("x{place}")).collect();
    let changes: Vec<(&str, Option<&str>)> = names
        .iter()
        .map(|name| (name.as_str(), Some("1")))
        .collect();
    let result = customers()
        .given(vec![registered(&[])])
        .when(upsert(&changes).into())
        .inspect_result();
    assert_eq!(
        invalid_kinds(result.expect_err("refused"))[0].1,
        "too_many_fields"
    );
}

#[test]
fn unique_fields_with_a_value_are_claimed() {
    let command = upsert(&[("email", Some("a@b.co"))]);
    let events = vec![updated(&[("email", "a@b.co")], &[], &["email"])];
    customers()
        .given(vec![registered(&[])])
        .when(command.into())
        .then_expect_events(events);
}

#[test]
fn a_field_that_is_about_to_become_unique_is_claimed_too() {
    let command = |changes: &[(&str, Option<&str>)]| Upsert {
        pending_unique: Arc::from(["phone".to_owned(), "badge".to_owned()]),
        ..upsert(changes)
    };
    let command = command(&[("email", Some("a@b.co")), ("phone", Some("+49301234567"))]);
    let events = decide(&Customer::default(), &command.into()).expect("allowed");
    let [
        CustomerEvent::Registered {
            claimed,
            profile: values,
            ..
        },
    ] = &events[..]
    else {
        panic!("one registration")
    };
    assert_eq!(claimed, &["email", "phone"]);
    let expected = profile(&[("email", "a@b.co"), ("phone", "+49301234567")]);
    assert_eq!(values, &Personal::new(expected.clone()));
    assert_eq!(expected["phone"], text("+49301234567"));
}
