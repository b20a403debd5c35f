//! Registering, updating, erasing.

use super::given::{AT, customers, erased, folded, profile, registered, updated, upsert};
use crate::customer::{Customer, CustomerCommand, CustomerRefusal, Status, Upsert, display_name};
use crate::event::{from_bytes, to_bytes};
use crate::stream::{Claim, Stream};
use crate::{Personal, customer::CustomerEvent};

#[test]
fn the_first_upsert_registers() {
    let command = upsert(&[("email", Some("a@b.co")), ("phone", None)]);
    let events = vec![registered(&[("email", "a@b.co")])];
    customers()
        .given_no_previous_events()
        .when(command.into())
        .then_expect_events(events);
}

#[test]
fn a_later_upsert_merges() {
    let command = upsert(&[("email", None), ("full_name", Some("Ada"))]);
    let given = vec![registered(&[
        ("email", "a@b.co"),
        ("phone", "+49301234567"),
    ])];
    let events = vec![updated(&[("full_name", "Ada")], &["email"], &[])];
    customers()
        .given(given)
        .when(command.into())
        .then_expect_events(events);
}

#[test]
fn replace_clears_what_is_not_named_but_keeps_the_primary_key() {
    let command = Upsert {
        replace: true,
        ..upsert(&[("full_name", Some("Ada"))])
    };
    let given = vec![registered(&[
        ("email", "a@b.co"),
        ("full_name", "Ada"),
        ("extra", "x"),
    ])];
    let events = vec![updated(&[], &["email", "extra"], &[])];
    customers()
        .given(given)
        .when(command.into())
        .then_expect_events(events);
}

#[test]
fn an_upsert_that_changes_nothing_appends_nothing() {
    let mut command = upsert(&[("email", Some("a@b.co")), ("phone", None)]);
    command.enabled = Some(true);
    command.connector_enabled = [("sms".to_owned(), true)].into();
    let given = vec![registered(&[("email", "a@b.co")])];
    customers()
        .given(given)
        .when(command.into())
        .then_expect_events(vec![]);
}

#[test]
fn switches_change_alone() {
    let mut command = upsert(&[]);
    command.enabled = Some(false);
    command.connector_enabled = [("sms".to_owned(), false), ("email".to_owned(), true)].into();
    let customer = folded([registered(&[])]);
    let events = crate::customer::decide(&customer, &command.into()).expect("allowed");
    let [
        CustomerEvent::Updated {
            fields,
            enabled: Some(false),
            connector_enabled,
            ..
        },
    ] = &events[..]
    else {
        panic!("one update");
    };
    assert!(fields.is_empty());
    assert_eq!(*connector_enabled, [("sms".to_owned(), false)].into());
    let customer = folded([registered(&[])].into_iter().chain(events));
    assert!(!customer.enabled && customer.version == 2);
}

#[test]
fn the_version_must_be_the_expected_one() {
    let expecting = |version| Upsert {
        expected_version: Some(version),
        ..upsert(&[("phone", Some("+49301234567"))])
    };
    let conflict = |current| CustomerRefusal::VersionConflict { current };
    customers()
        .given_no_previous_events()
        .when(expecting(1).into())
        .then_expect_error(conflict(0));
    let events = vec![registered(&[("phone", "+49301234567")])];
    customers()
        .given_no_previous_events()
        .when(expecting(0).into())
        .then_expect_events(events);
    customers()
        .given(vec![registered(&[])])
        .when(expecting(0).into())
        .then_expect_error(conflict(1));
    let events = vec![updated(&[("phone", "+49301234567")], &[], &[])];
    customers()
        .given(vec![registered(&[])])
        .when(expecting(1).into())
        .then_expect_events(events);
}

#[test]
fn only_changes_of_the_record_move_version_and_time() {
    let claimed = CustomerEvent::FieldsClaimed {
        at: AT.plus_seconds(9),
        claimed: vec!["phone".into()],
    };
    let customer = folded([
        registered(&[]),
        updated(&[("phone", "+49301234567")], &[], &[]),
        claimed,
    ]);
    assert_eq!((customer.version, customer.updated_at), (2, AT));
}

#[test]
fn skip_existing_leaves_a_customer_alone_and_registers_a_new_one() {
    let command = || Upsert {
        skip_existing: true,
        ..upsert(&[("email", Some("a@b.co"))])
    };
    customers()
        .given(vec![registered(&[])])
        .when(command().into())
        .then_expect_events(vec![]);
    let events = vec![registered(&[("email", "a@b.co")])];
    customers()
        .given_no_previous_events()
        .when(command().into())
        .then_expect_events(events);
}

#[test]
fn an_erased_person_is_gone_for_ever() {
    let erase = || CustomerCommand::Erase { at: AT };
    let gone = CustomerRefusal::CustomerNotFound;
    customers()
        .given(vec![registered(&[])])
        .when(erase())
        .then_expect_events(vec![erased()]);
    customers()
        .given(vec![registered(&[]), erased()])
        .when(erase())
        .then_expect_error(gone.clone());
    customers()
        .given_no_previous_events()
        .when(erase())
        .then_expect_error(gone.clone());
    customers()
        .given(vec![registered(&[]), erased()])
        .when(upsert(&[]).into())
        .then_expect_error(gone);
}

#[test]
fn nothing_of_an_erased_person_is_left_in_the_state() {
    let customer = folded([registered(&[("email", "a@b.co")]), erased()]);
    assert_eq!(
        (customer.status, customer.is_closed()),
        (Status::Erased, true)
    );
    assert_eq!(
        (&customer.customer_user_id, &customer.profile),
        (&Personal::Erased, &Personal::Erased)
    );
    assert_eq!(customer.claims(), []);
    assert_eq!(customer.display_name(), "");
}

#[test]
fn a_customer_claims_the_id_and_the_unique_values() {
    let customer = folded([registered(&[
        ("email", "a@b.co"),
        ("phone", "+49301234567"),
    ])]);
    assert_eq!(
        customer.claims(),
        [
            Claim::customer_id("ada"),
            Claim::unique_value("email", "a@b.co")
        ]
    );
    let changed = folded([
        registered(&[("email", "a@b.co")]),
        updated(&[("email", "x@y.co")], &[], &["email"]),
    ]);
    assert_eq!(
        changed.claims(),
        [
            Claim::customer_id("ada"),
            Claim::unique_value("email", "x@y.co")
        ]
    );
    let cleared = folded([
        registered(&[("email", "a@b.co")]),
        updated(&[], &["email"], &[]),
    ]);
    assert_eq!(cleared.claims(), [Claim::customer_id("ada")]);
}

#[test]
fn the_display_name_is_the_best_name_there_is() {
    for (values, expected) in [
        (
            &[
                ("full_name", "Ada L."),
                ("name", "Ada"),
                ("email", "a@b.co"),
            ][..],
            "Ada L.",
        ),
        (
            &[("name", "Ada"), ("first_name", "A"), ("email", "a@b.co")],
            "Ada",
        ),
        (
            &[
                ("first_name", "Ada"),
                ("last_name", "Lovelace"),
                ("email", "a@b.co"),
            ],
            "Ada Lovelace",
        ),
        (
            &[("last_name", "Lovelace"), ("email", "a@b.co")],
            "Lovelace",
        ),
        (&[("email", "a@b.co")], "a@b.co"),
        (&[], "ada"),
    ] {
        assert_eq!(display_name(&profile(values), "ada"), expected);
    }
}

#[test]
fn the_state_survives_a_positional_snapshot() {
    for customer in [
        Customer::default(),
        folded([registered(&[("email", "a@b.co")])]),
        folded([registered(&[("email", "a@b.co")]), erased()]),
    ] {
        assert_eq!(
            from_bytes::<Customer>((0, 0), &to_bytes(&customer)),
            Ok(customer)
        );
    }
}
