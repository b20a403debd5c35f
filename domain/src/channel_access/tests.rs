//! What the wildcard of a channel does.

use cqrs_es::test::TestFramework;

use super::{ChannelAccess, ChannelAccessCommand, ChannelAccessEvent, ChannelAccessRefusal};
use crate::Timestamp;
use crate::access::Terms;
use crate::stream::{Claim, Stream};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);

fn terms(enabled: bool) -> Terms {
    Terms {
        agents: vec!["sales".into()],
        enabled,
        expires_at: None,
    }
}

fn grant(enabled: bool) -> ChannelAccessCommand {
    ChannelAccessCommand::Grant {
        at: AT,
        channel: "sms".into(),
        terms: terms(enabled),
    }
}

fn granted(enabled: bool) -> ChannelAccessEvent {
    ChannelAccessEvent::Granted {
        at: AT,
        channel: "sms".into(),
        terms: terms(enabled),
    }
}

fn channels() -> TestFramework<ChannelAccess> {
    TestFramework::with(())
}

#[test]
fn a_grant_is_set_and_set_anew() {
    channels()
        .given_no_previous_events()
        .when(grant(true))
        .then_expect_events(vec![granted(true)]);
    channels()
        .given(vec![granted(true)])
        .when(grant(true))
        .then_expect_events(vec![]);
    channels()
        .given(vec![granted(true)])
        .when(grant(false))
        .then_expect_events(vec![granted(false)]);
}

#[test]
fn only_a_grant_that_is_there_can_be_revoked() {
    let revoke = || ChannelAccessCommand::Revoke { at: AT };
    let revoked = || ChannelAccessEvent::Revoked { at: AT };
    channels()
        .given(vec![granted(false)])
        .when(revoke())
        .then_expect_events(vec![revoked()]);
    for given in [vec![], vec![granted(true), revoked()]] {
        channels()
            .given(given)
            .when(revoke())
            .then_expect_error(ChannelAccessRefusal::GrantNotFound);
    }
    channels()
        .given(vec![granted(true), revoked()])
        .when(grant(true))
        .then_expect_events(vec![granted(true)]);
}

#[test]
fn the_stream_of_a_channel_is_found_for_ever() {
    let mut access = ChannelAccess::default();
    assert_eq!(access.claims(), []);
    access.fold(granted(true));
    access.fold(ChannelAccessEvent::Revoked { at: AT });
    assert_eq!(access.claims(), [Claim::channel_access("sms")]);
    assert_eq!((access.terms, access.granted_at), (None, None));
}
