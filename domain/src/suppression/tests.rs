//! What a suppression does.

use cqrs_es::test::TestFramework;

use super::{Suppression, SuppressionCommand, SuppressionEvent, SuppressionRefusal};
use crate::stream::{Claim, Stream};
use crate::{Personal, Timestamp};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);

fn added() -> SuppressionEvent {
    SuppressionEvent::Added {
        at: AT,
        customer_user_id: Personal::new("ada".into()),
    }
}

fn add() -> SuppressionCommand {
    SuppressionCommand::Add {
        at: AT,
        customer_user_id: Personal::new("ada".into()),
    }
}

fn suppressions() -> TestFramework<Suppression> {
    TestFramework::with(())
}

#[test]
fn an_id_is_suppressed_once() {
    suppressions()
        .given_no_previous_events()
        .when(add())
        .then_expect_events(vec![added()]);
    suppressions()
        .given(vec![added()])
        .when(add())
        .then_expect_events(vec![]);
}

#[test]
fn only_a_suppressed_id_can_be_released() {
    let remove = || SuppressionCommand::Remove { at: AT };
    let removed = || SuppressionEvent::Removed { at: AT };
    suppressions()
        .given(vec![added()])
        .when(remove())
        .then_expect_events(vec![removed()]);
    let refused = SuppressionRefusal::SuppressionNotFound;
    suppressions()
        .given_no_previous_events()
        .when(remove())
        .then_expect_error(refused);
    suppressions()
        .given(vec![added(), removed()])
        .when(remove())
        .then_expect_error(refused);
    suppressions()
        .given(vec![added(), removed()])
        .when(add())
        .then_expect_error(refused);
}

#[test]
fn the_claim_lasts_as_long_as_the_suppression() {
    let mut suppression = Suppression::default();
    assert_eq!(suppression.claims(), []);
    suppression.fold(added());
    assert_eq!(suppression.claims(), [Claim::suppressed("ada")]);
    suppression.fold(SuppressionEvent::Removed { at: AT });
    assert_eq!(suppression.claims(), []);
    assert!(suppression.is_closed());
    assert_eq!(suppression.customer_user_id, Personal::Erased);
}
