//! Links and grants: by hand, through grants, and in step with the profile.

use std::sync::Arc;

use super::given::{AT, customers, folded, registered, schema, text, updated, upsert};
use crate::Personal;
use crate::access::{ConnectorIdentity, LinkedBy, Terms};
use crate::customer::{
    AttachGrant, CustomerCommand, CustomerEvent, CustomerRefusal, UnlinkIdentity, Upsert, decide,
};
use crate::event::{from_bytes, to_bytes};
use crate::schema::{ConnectorBinding, Schema};
use crate::stream::{Claim, Stream};

const OLD: &str = "+49301234567";
const NEW: &str = "+49307654321";

fn identity(channel: &str, id: &str) -> ConnectorIdentity {
    ConnectorIdentity::read(channel, id).expect("an identity")
}

/// The default schema with a binding of sms and one of whatsapp to the telephone number.
fn bound() -> Arc<Schema> {
    schema(|definition| {
        for channel in ["sms", "whatsapp"] {
            definition.connector_bindings.push(ConnectorBinding {
                channel: channel.into(),
                profile_field: "phone".into(),
                source: None,
                required: false,
                label: None,
            });
        }
    })
}

/// An upsert of `ada` under a schema without a unique e-mail.
fn under(schema: Arc<Schema>, changes: &[(&str, Option<&str>)]) -> Upsert {
    Upsert {
        schema,
        ..upsert(changes)
    }
}

fn linked(channel: &str, id: &str, linked_by: LinkedBy) -> CustomerEvent {
    CustomerEvent::IdentityLinked {
        at: AT,
        channel: channel.into(),
        external_user_id: Personal::new(id.into()),
        linked_by,
    }
}

fn unlinked(channel: &str, id: &str, blocks: bool) -> CustomerEvent {
    CustomerEvent::IdentityUnlinked {
        at: AT,
        channel: channel.into(),
        external_user_id: Personal::new(id.into()),
        blocks,
    }
}

fn terms(agent: &str) -> Terms {
    Terms {
        agents: vec![agent.into()],
        enabled: true,
        expires_at: None,
    }
}

fn granted(channel: &str, id: &str, agent: &str) -> CustomerEvent {
    CustomerEvent::GrantSet {
        at: AT,
        channel: channel.into(),
        external_user_id: Personal::new(id.into()),
        terms: terms(agent),
    }
}

fn revoked(channel: &str, id: &str) -> CustomerEvent {
    CustomerEvent::GrantRevoked {
        at: AT,
        channel: channel.into(),
        external_user_id: Personal::new(id.into()),
    }
}

fn link(channel: &str, id: &str) -> CustomerCommand {
    CustomerCommand::LinkIdentity {
        at: AT,
        identity: identity(channel, id),
        linked_by: LinkedBy::Manual,
    }
}

fn unlink(channel: &str, id: &str, clear: Option<Upsert>) -> CustomerCommand {
    CustomerCommand::UnlinkIdentity(UnlinkIdentity {
        at: AT,
        identity: identity(channel, id),
        clear,
    })
}

fn attach(schema: Arc<Schema>, channel: &str, id: &str, field: &str) -> CustomerCommand {
    CustomerCommand::AttachGrant(AttachGrant {
        identity: identity(channel, id),
        terms: terms("sales"),
        upsert: under(schema, &[(field, Some(id))]),
    })
}

#[test]
fn an_identity_is_linked_once_and_stays_with_who_linked_it() {
    let auto = linked("line", "U1", LinkedBy::Auto);
    customers()
        .given(vec![registered(&[])])
        .when(link("line", "U1"))
        .then_expect_events(vec![linked("line", "U1", LinkedBy::Manual)]);
    customers()
        .given(vec![registered(&[]), auto])
        .when(link("line", "U1"))
        .then_expect_events(vec![]);
    customers()
        .given_no_previous_events()
        .when(link("line", "U1"))
        .then_expect_error(CustomerRefusal::CustomerNotFound);
}

#[test]
fn unlinking_takes_the_grant_and_blocks_the_pair_until_a_link() {
    let given = || {
        vec![
            registered(&[]),
            linked("line", "U1", LinkedBy::Manual),
            granted("line", "U1", "sales"),
        ]
    };
    customers()
        .given(given())
        .when(unlink("line", "U1", None))
        .then_expect_events(vec![unlinked("line", "U1", true)]);
    customers()
        .given(given())
        .when(unlink("line", "U2", None))
        .then_expect_events(vec![]);
    let mut customer = folded(given().into_iter().chain([unlinked("line", "U1", true)]));
    assert!(customer.access.links.is_empty() && customer.access.grants.is_empty());
    assert!(customer.access.is_blocked(&identity("line", "U1")));
    customer.fold(linked("line", "U1", LinkedBy::Manual));
    assert!(!customer.access.is_blocked(&identity("line", "U1")));
}

#[test]
fn unlinking_clears_the_bound_field_only_where_it_may_be_empty() {
    let given = || {
        vec![
            registered(&[("phone", OLD)]),
            linked("sms", OLD, LinkedBy::Profile),
            linked("whatsapp", OLD, LinkedBy::Profile),
        ]
    };
    let clear = |schema, field| Some(under(schema, &[(field, None)]));
    customers()
        .given(given())
        .when(unlink("sms", OLD, clear(bound(), "phone")))
        .then_expect_events(vec![
            unlinked("sms", OLD, true),
            updated(&[], &["phone"], &[]),
            unlinked("whatsapp", OLD, false),
        ]);
    let required = schema(|definition| definition.fields[2].required = true);
    let refused = |field: &str| CustomerRefusal::FieldRequired {
        field: field.into(),
    };
    customers()
        .given(given())
        .when(unlink("sms", OLD, clear(required, "phone")))
        .then_expect_error(refused("phone"));
    customers()
        .given(given())
        .when(unlink("sms", OLD, clear(bound(), "customer_user_id")))
        .then_expect_error(refused("customer_user_id"));
}

#[test]
fn a_bound_value_is_linked_when_it_is_set() {
    customers()
        .given_no_previous_events()
        .when(under(bound(), &[("phone", Some(OLD))]).into())
        .then_expect_events(vec![
            registered(&[("phone", OLD)]),
            linked("sms", OLD, LinkedBy::Profile),
            linked("whatsapp", OLD, LinkedBy::Profile),
        ]);
    // A value that was there before the binding is left to grants and rules.
    customers()
        .given(vec![registered(&[("phone", OLD)])])
        .when(under(bound(), &[("phone", Some(OLD)), ("full_name", Some("Ada"))]).into())
        .then_expect_events(vec![updated(&[("full_name", "Ada")], &[], &[])]);
}

#[test]
fn a_changed_value_moves_link_and_grant_and_a_cleared_one_ends_both() {
    let given = || {
        vec![
            registered(&[("phone", OLD)]),
            linked("sms", OLD, LinkedBy::Profile),
            linked("whatsapp", OLD, LinkedBy::Profile),
            granted("sms", OLD, "sales"),
        ]
    };
    customers()
        .given(given())
        .when(under(bound(), &[("phone", Some(NEW))]).into())
        .then_expect_events(vec![
            updated(&[("phone", NEW)], &[], &[]),
            unlinked("sms", OLD, false),
            linked("sms", NEW, LinkedBy::Profile),
            granted("sms", NEW, "sales"),
            unlinked("whatsapp", OLD, false),
            linked("whatsapp", NEW, LinkedBy::Profile),
        ]);
    customers()
        .given(given())
        .when(under(bound(), &[("phone", None)]).into())
        .then_expect_events(vec![
            updated(&[], &["phone"], &[]),
            unlinked("sms", OLD, false),
            unlinked("whatsapp", OLD, false),
        ]);
}

#[test]
fn a_field_without_a_binding_links_nothing_but_keeps_its_link_in_step() {
    let plain = || schema(|_| ());
    let given = || registered(&[("line_primary_key", "U1")]);
    customers()
        .given_no_previous_events()
        .when(under(plain(), &[("line_primary_key", Some("U1"))]).into())
        .then_expect_events(vec![given()]);
    customers()
        .given(vec![
            given(),
            linked("line", "U1", LinkedBy::Auto),
            granted("line", "U1", "sales"),
        ])
        .when(under(plain(), &[("line_primary_key", Some("U2"))]).into())
        .then_expect_events(vec![
            updated(&[("line_primary_key", "U2")], &[], &[]),
            unlinked("line", "U1", false),
            linked("line", "U2", LinkedBy::Profile),
            granted("line", "U2", "sales"),
        ]);
    // A link to another identity has nothing to do with the field.
    customers()
        .given(vec![given(), linked("line", "U9", LinkedBy::Manual)])
        .when(under(plain(), &[("line_primary_key", Some("U2"))]).into())
        .then_expect_events(vec![updated(&[("line_primary_key", "U2")], &[], &[])]);
}

#[test]
fn the_profile_does_not_lift_a_block_and_a_grant_does() {
    let given = || {
        vec![
            registered(&[("phone", OLD)]),
            linked("sms", NEW, LinkedBy::Manual),
            unlinked("sms", NEW, true),
        ]
    };
    customers()
        .given(given())
        .when(under(bound(), &[("phone", Some(NEW))]).into())
        .then_expect_events(vec![
            updated(&[("phone", NEW)], &[], &[]),
            linked("whatsapp", NEW, LinkedBy::Profile),
        ]);
    customers()
        .given(given())
        .when(attach(bound(), "sms", NEW, "phone"))
        .then_expect_events(vec![
            updated(&[("phone", NEW)], &[], &[]),
            linked("whatsapp", NEW, LinkedBy::Profile),
            linked("sms", NEW, LinkedBy::Admin),
            granted("sms", NEW, "sales"),
        ]);
}

#[test]
fn attaching_writes_the_field_links_and_grants() {
    let plain = || schema(|_| ());
    customers()
        .given(vec![
            registered(&[("line_primary_key", "U1")]),
            linked("line", "U1", LinkedBy::Auto),
            granted("line", "U1", "support"),
        ])
        .when(attach(plain(), "line", "U2", "line_primary_key"))
        .then_expect_events(vec![
            updated(&[("line_primary_key", "U2")], &[], &[]),
            unlinked("line", "U1", false),
            linked("line", "U2", LinkedBy::Admin),
            granted("line", "U2", "sales"),
        ]);
    // What is linked already is the administrator's from now on, and the same again changes nothing.
    let given = vec![
        registered(&[("line_primary_key", "U1")]),
        linked("line", "U1", LinkedBy::Auto),
        granted("line", "U1", "sales"),
    ];
    let admin = linked("line", "U1", LinkedBy::Admin);
    customers()
        .given(given.clone())
        .when(attach(plain(), "line", "U1", "line_primary_key"))
        .then_expect_events(vec![admin.clone()]);
    customers()
        .given(given.into_iter().chain([admin]).collect())
        .when(attach(plain(), "line", "U1", "line_primary_key"))
        .then_expect_events(vec![]);
    // The id is no identity that could be exchanged.
    customers()
        .given(vec![registered(&[])])
        .when(attach(plain(), "line", "U1", "customer_user_id"))
        .then_expect_error(CustomerRefusal::PrimaryKeyMismatch);
}

#[test]
fn revoking_takes_every_grant_of_the_channel_and_leaves_the_links() {
    let revoke = |channel: &str| CustomerCommand::RevokeGrants {
        at: AT,
        channel: channel.into(),
    };
    let given = vec![
        registered(&[]),
        linked("line", "U1", LinkedBy::Manual),
        linked("line", "U2", LinkedBy::Manual),
        granted("line", "U1", "sales"),
        granted("line", "U2", "sales"),
    ];
    customers()
        .given(given.clone())
        .when(revoke("line"))
        .then_expect_events(vec![revoked("line", "U1"), revoked("line", "U2")]);
    customers()
        .given(given)
        .when(revoke("sms"))
        .then_expect_error(CustomerRefusal::GrantNotFound);
}

#[test]
fn links_are_claimed_and_no_part_of_the_record_version() {
    let mut customer = folded([
        registered(&[]),
        linked("line", "U1", LinkedBy::Manual),
        granted("line", "U1", "sales"),
    ]);
    assert_eq!(customer.version, 1);
    assert_eq!(
        customer.claims(),
        [
            Claim::customer_id("ada"),
            Claim::connector_identity("line", "U1")
        ]
    );
    let copy = from_bytes((0, 0), &to_bytes(&customer));
    assert_eq!(copy.as_ref(), Ok(&customer));
    let nameless = CustomerEvent::IdentityLinked {
        at: AT,
        channel: "line".into(),
        external_user_id: Personal::Erased,
        linked_by: LinkedBy::Manual,
    };
    customer.fold(nameless);
    assert_eq!(customer.access.links.len(), 1);
    customer.fold(CustomerEvent::Erased { at: AT });
    assert!(customer.access.is_empty() && customer.claims().is_empty());
}

#[test]
fn a_channel_is_switched_alone() {
    let switch = |enabled| CustomerCommand::SetConnectorEnabled {
        at: AT,
        channel: "sms".into(),
        enabled,
    };
    let customer = folded([registered(&[("email", "a@b.co")])]);
    assert_eq!(decide(&customer, &switch(true)), Ok(vec![]));
    let events = decide(&customer, &switch(false)).expect("it is switched");
    let after = folded(
        [registered(&[("email", "a@b.co")])]
            .into_iter()
            .chain(events),
    );
    assert_eq!(after.connector_enabled, [("sms".to_owned(), false)].into());
    assert_eq!((after.version, &after.claimed), (2, &customer.claimed));
    assert_eq!(
        after
            .profile
            .known()
            .and_then(|profile| profile.get("email")),
        Some(&text("a@b.co"))
    );
}
