//! What an identity does.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{Identity, IdentityCommand, IdentityEvent, IdentityRefusal};
use crate::access::ConnectorIdentity;
use crate::stream::{Claim, Stream};
use crate::{Personal, Timestamp};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);
const ADA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

fn block(customer_ref: Uuid) -> IdentityCommand {
    IdentityCommand::Block {
        at: AT,
        identity: ConnectorIdentity::read("line", "U1").expect("an identity"),
        customer_ref,
    }
}

fn blocked(customer_ref: Uuid) -> IdentityEvent {
    IdentityEvent::Blocked {
        at: AT,
        channel: "line".into(),
        external_user_id: Personal::new("U1".into()),
        customer_ref,
    }
}

fn unblocked(customer_ref: Uuid) -> IdentityEvent {
    IdentityEvent::Unblocked {
        at: AT,
        customer_ref,
    }
}

fn identities() -> TestFramework<Identity> {
    TestFramework::with(())
}

#[test]
fn a_pair_is_blocked_once_and_freed_once() {
    identities()
        .given(vec![blocked(ADA)])
        .when(block(ADA))
        .then_expect_events(vec![]);
    identities()
        .given(vec![blocked(ADA)])
        .when(block(BOB))
        .then_expect_events(vec![blocked(BOB)]);
    let unblock = |customer_ref| IdentityCommand::Unblock {
        at: AT,
        customer_ref,
    };
    identities()
        .given(vec![blocked(ADA), blocked(BOB)])
        .when(unblock(ADA))
        .then_expect_events(vec![unblocked(ADA)]);
    identities()
        .given(vec![blocked(ADA)])
        .when(unblock(BOB))
        .then_expect_events(vec![]);
    let forgotten = || IdentityEvent::Forgotten { at: AT };
    identities()
        .given(vec![blocked(ADA)])
        .when(unblock(ADA))
        .then_expect_events(vec![forgotten()]);
    identities()
        .given(vec![blocked(ADA), forgotten()])
        .when(unblock(ADA))
        .then_expect_events(vec![]);
    identities()
        .given(vec![blocked(ADA), forgotten()])
        .when(block(ADA))
        .then_expect_error(IdentityRefusal::IdentityForgotten);
}

#[test]
fn the_claim_lasts_until_the_identity_is_forgotten() {
    let mut identity = Identity::default();
    assert_eq!(identity.claims(), []);
    identity.fold(blocked(ADA));
    identity.fold(unblocked(ADA));
    assert_eq!(identity.claims(), [Claim::known_identity("line", "U1")]);
    identity.fold(blocked(BOB));
    identity.fold(IdentityEvent::Forgotten { at: AT });
    assert_eq!((identity.claims(), identity.is_closed()), (vec![], true));
    assert_eq!(identity.external_user_id, Personal::Erased);
}
