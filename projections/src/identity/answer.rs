//! From what matching and the grants came to, to the answer.

use std::sync::Arc;

use roster_domain::access::{Decision, Outcome};

use super::{Found, FoundRule, Person};

impl Found {
    /// Nobody was found, or nobody who is known by now.
    pub(super) fn nobody<C>(outcome: &Outcome<'_, C>, position: i64) -> Self {
        Self {
            customer: None,
            links: false,
            reason: outcome.reason,
            via: outcome.via,
            trust: outcome.trust,
            rule: outcome.rule.as_ref().map(rule),
            allowed: false,
            agents: None,
            grant_source: None,
            position,
        }
    }

    /// Somebody was found; `agents` are those of the decision.
    pub(super) fn somebody<C>(
        outcome: &Outcome<'_, C>,
        customer: Person,
        decision: &Decision<'_>,
        agents: Option<Arc<[String]>>,
        position: i64,
    ) -> Self {
        Self {
            customer: Some(customer),
            links: outcome.found.as_ref().is_some_and(|found| found.links),
            reason: decision.reason,
            via: outcome.via,
            trust: outcome.trust,
            rule: outcome.rule.as_ref().map(rule),
            allowed: decision.allowed,
            agents,
            grant_source: decision.source,
            position,
        }
    }
}

fn rule(used: &roster_domain::access::UsedRule<'_>) -> FoundRule {
    FoundRule {
        channel: used.channel.to_owned(),
        field: used.field.to_owned(),
        source: used.source,
    }
}
