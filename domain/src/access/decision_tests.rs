//! Every combination of grants and switches, and what holds for all of them.

use proptest::prelude::*;

use super::{Decision, GrantSource, Grants, Holder, Reason, access};
use crate::Timestamp;
use crate::access::Terms;

const NOW: Timestamp = Timestamp(1_000);

/// A grant of a list that only its own source has.
fn grant(kind: &str, agent: &str) -> Option<Terms> {
    let (enabled, expires_at) = match kind {
        "absent" => return None,
        "active" => (true, Some(Timestamp(1_001))),
        "for ever" => (true, None),
        "disabled" => (false, None),
        "expired" => (true, Some(NOW)),
        "disabled and expired" => (false, Some(Timestamp(1))),
        other => panic!("{other}"),
    };
    Some(Terms {
        agents: vec![agent.into(), "Shared".into()],
        enabled,
        expires_at,
    })
}

const KINDS: [&str; 6] = [
    "absent",
    "active",
    "for ever",
    "disabled",
    "expired",
    "disabled and expired",
];

/// What the first grant that exists says, told in another way than the rules are written.
fn expected(specific: &str, bound: [&str; 2], wildcard: &str) -> (Reason, Option<GrantSource>) {
    let of = |kind: &str| match kind {
        "active" | "for ever" => Some(Reason::Matched),
        "disabled" => Some(Reason::GrantDisabled),
        _ => None,
    };
    let levels = [
        (of(specific), GrantSource::Specific),
        (
            if bound.contains(&"disabled") {
                Some(Reason::GrantDisabled)
            } else {
                of(bound[0]).or(of(bound[1]))
            },
            GrantSource::Bound,
        ),
        (of(wildcard), GrantSource::Wildcard),
    ];
    for (reason, source) in levels {
        if let Some(reason) = reason {
            return (reason, Some(source));
        }
    }
    let over = [specific, bound[0], bound[1], wildcard]
        .iter()
        .any(|kind| kind.contains("expired"));
    let reason = if over {
        Reason::GrantExpired
    } else {
        Reason::NoGrant
    };
    (reason, None)
}

fn decide<'a>(
    switches: Option<(bool, bool)>,
    specific: Option<&'a Terms>,
    bound: &'a [Terms],
    wildcard: Option<&'a Terms>,
) -> Decision<'a> {
    let holder = switches.map(|(enabled, connector_enabled)| Holder {
        enabled,
        connector_enabled,
    });
    let grants = Grants {
        specific,
        bound: bound.iter(),
        wildcard,
    };
    access(holder, grants, NOW)
}

#[test]
fn every_combination_of_grants_and_switches_has_its_decision() {
    let mut combinations = 0;
    for specific in KINDS {
        for first in KINDS {
            for second in KINDS {
                for wildcard in KINDS {
                    let what = format!("{specific}, {first}, {second}, {wildcard}");
                    let (reason, source) = expected(specific, [first, second], wildcard);
                    let grants = [
                        grant(specific, "Own"),
                        grant(first, "First"),
                        grant(second, "Second"),
                        grant(wildcard, "Everybody"),
                    ];
                    let [own, one, two, all] = &grants;
                    let bound: Vec<Terms> = [one, two].into_iter().flatten().cloned().collect();
                    for enabled in [true, false] {
                        for connector in [true, false] {
                            let switches = Some((enabled, connector));
                            let decision = decide(switches, own.as_ref(), &bound, all.as_ref());
                            let reason = match (enabled, connector) {
                                (false, _) => Reason::CustomerDisabled,
                                (true, false) => Reason::ConnectorDisabled,
                                (true, true) => reason,
                            };
                            assert_eq!(
                                (decision.reason, decision.source, decision.allowed),
                                (reason, source, reason == Reason::Matched),
                                "{what}"
                            );
                            let owner = match source {
                                Some(GrantSource::Specific) => "Own",
                                Some(GrantSource::Bound)
                                    if expected(first, ["absent"; 2], "absent").1.is_some() =>
                                {
                                    "First"
                                }
                                Some(GrantSource::Bound) => "Second",
                                Some(GrantSource::Wildcard) => "Everybody",
                                None => "nobody",
                            };
                            for agent in ["Own", "First", "Second", "Everybody", "sHARED", "Other"]
                            {
                                let of_agent = decision.for_agent(agent);
                                let named = agent == owner || agent == "sHARED";
                                assert_eq!(
                                    of_agent.allowed,
                                    decision.allowed && named,
                                    "{what}: {agent}"
                                );
                                if decision.allowed && !named {
                                    assert_eq!(of_agent.reason, Reason::AgentNotGranted);
                                }
                            }
                            combinations += 1;
                        }
                    }
                    let nobody = decide(None, own.as_ref(), &bound, all.as_ref());
                    assert_eq!(nobody, Decision::nobody(Reason::Unmatched), "{what}");
                }
            }
        }
    }
    assert_eq!(combinations, 6 * 6 * 6 * 6 * 4);
}

#[test]
fn the_words_of_reasons_are_those_of_the_api() {
    let words: Vec<&str> = Reason::ALL.into_iter().map(Reason::as_str).collect();
    assert_eq!(
        words.join(" "),
        "matched unmatched ambiguous blocked customer_disabled connector_disabled no_grant grant_disabled \
         grant_expired agent_not_granted"
    );
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let agents = proptest::collection::vec(
        prop_oneof![Just("sales"), Just("Support"), Just("billing"), Just("*")],
        1..3,
    );
    (agents, any::<bool>(), proptest::option::of(990..1_010_i64)).prop_map(
        |(agents, enabled, expires_at)| Terms {
            agents: agents.into_iter().map(str::to_owned).collect(),
            enabled,
            expires_at: expires_at.map(Timestamp),
        },
    )
}

proptest! {
    #[test]
    fn a_deny_wins_grants_never_add_up_and_a_disabled_customer_is_never_allowed(
        specific in proptest::option::of(any_terms()),
        bound in proptest::collection::vec(any_terms(), 0..4),
        wildcard in proptest::option::of(any_terms()),
        enabled in any::<bool>(),
        connector in any::<bool>(),
        agent in prop_oneof![Just("sales"), Just("SUPPORT"), Just("other")],
    ) {
        let decision = decide(Some((enabled, connector)), specific.as_ref(), &bound, wildcard.as_ref()).for_agent(agent);
        let exists = |terms: &&Terms| terms.expires_at.is_none_or(|at| at > NOW);
        if !enabled || !connector {
            prop_assert!(!decision.allowed && decision.agents.is_empty());
        }
        // The deny of a level ends everything below it.
        let own = specific.as_ref().filter(exists);
        if own.is_some_and(|terms| !terms.enabled) {
            prop_assert!(!decision.allowed);
        }
        if own.is_none() && bound.iter().filter(exists).any(|terms| !terms.enabled) {
            prop_assert!(!decision.allowed);
        }
        // What is allowed is allowed by one grant alone.
        if decision.allowed {
            let all = own.into_iter().chain(bound.iter().filter(exists)).chain(wildcard.as_ref().filter(exists));
            let whole: Vec<&Terms> = all.filter(|terms| terms.enabled && terms.agents == decision.agents).collect();
            prop_assert!(!whole.is_empty());
        }
        // A wildcard says nothing where another grant exists.
        if own.is_some() || bound.iter().any(|terms| exists(&terms)) {
            let without = decide(Some((enabled, connector)), specific.as_ref(), &bound, None).for_agent(agent);
            prop_assert_eq!(decision, without);
        }
        // Nobody gains by losing the specific grant's expiry: an expired grant is as if it were absent.
        if specific.as_ref().is_some_and(|terms| !exists(&terms)) {
            let without = decide(Some((enabled, connector)), None, &bound, wildcard.as_ref()).for_agent(agent);
            prop_assert_eq!((decision.allowed, decision.agents), (without.allowed, without.agents));
        }
    }
}
