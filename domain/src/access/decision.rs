//! The rules of grants.
//!
//! The first that exists decides: the grant of the sighted identity, then those of the customer's bound key and other
//! links on the channel (a deny wins), then the channel's wildcard. They never add up. A disabled grant is a deny, an
//! expired one is absent.

use super::terms::names;
use super::{GrantStatus, Terms};
use crate::Timestamp;

/// Where a decision came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantSource {
    /// The grant of the sighted identity.
    Specific,
    /// A grant of the customer's bound key or another link on the channel.
    Bound,
    /// The grant of everybody on the channel.
    Wildcard,
}

impl GrantSource {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Specific => "specific",
            Self::Bound => "bound",
            Self::Wildcard => "wildcard",
        }
    }
}

/// Why somebody may or may not, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A customer was found, and may.
    Matched,
    /// No customer was found.
    Unmatched,
    /// Several customers were found.
    Ambiguous,
    /// The only customer that was found is blocked for this identity.
    Blocked,
    /// The customer is switched off.
    CustomerDisabled,
    /// The channel is switched off for the customer.
    ConnectorDisabled,
    /// No grant.
    NoGrant,
    /// The grant is switched off.
    GrantDisabled,
    /// The only grant is over.
    GrantExpired,
    /// The grant names other agents.
    AgentNotGranted,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Matched,
        Self::Unmatched,
        Self::Ambiguous,
        Self::Blocked,
        Self::CustomerDisabled,
        Self::ConnectorDisabled,
        Self::NoGrant,
        Self::GrantDisabled,
        Self::GrantExpired,
        Self::AgentNotGranted,
    ];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Unmatched => "unmatched",
            Self::Ambiguous => "ambiguous",
            Self::Blocked => "blocked",
            Self::CustomerDisabled => "customer_disabled",
            Self::ConnectorDisabled => "connector_disabled",
            Self::NoGrant => "no_grant",
            Self::GrantDisabled => "grant_disabled",
            Self::GrantExpired => "grant_expired",
            Self::AgentNotGranted => "agent_not_granted",
        }
    }
}

/// The customer who was found, as far as access depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// Whether the customer may use anything.
    pub enabled: bool,
    /// Whether the channel is on for the customer.
    pub connector_enabled: bool,
}

/// The grants that can decide, by where they come from.
#[derive(Clone, Debug)]
pub struct Grants<'a, I> {
    /// The grant of the sighted identity.
    pub specific: Option<&'a Terms>,
    /// The grants of the customer's other identities on the channel, that of the bound key first.
    pub bound: I,
    /// The grant of the wildcard.
    pub wildcard: Option<&'a Terms>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether any agent may be used.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The agents that may be used; none where nothing may.
    pub agents: &'a [String],
    /// The grant that decided; `None` where none exists.
    pub source: Option<GrantSource>,
}

impl Decision<'_> {
    /// The decision about somebody who is no known customer.
    pub const fn nobody(reason: Reason) -> Self {
        Self {
            allowed: false,
            reason,
            agents: &[],
            source: None,
        }
    }

    /// The same decision about one agent.
    #[must_use]
    pub fn for_agent(self, alias: &str) -> Self {
        if !self.allowed || names(self.agents, alias) {
            return self;
        }
        Self {
            allowed: false,
            reason: Reason::AgentNotGranted,
            ..self
        }
    }

    const fn denied(self, reason: Reason) -> Self {
        Self {
            allowed: false,
            reason,
            agents: &[],
            source: self.source,
        }
    }
}

/// What a customer may use over a channel at a time. `None` is somebody without a customer. Allocates nothing.
pub fn access<'a, I: Iterator<Item = &'a Terms>>(
    holder: Option<Holder>,
    grants: Grants<'a, I>,
    now: Timestamp,
) -> Decision<'a> {
    let Some(holder) = holder else {
        return Decision::nobody(Reason::Unmatched);
    };
    let decision = of_grants(grants, now);
    if !holder.enabled {
        decision.denied(Reason::CustomerDisabled)
    } else if !holder.connector_enabled {
        decision.denied(Reason::ConnectorDisabled)
    } else {
        decision
    }
}

fn of_grants<'a, I: Iterator<Item = &'a Terms>>(
    grants: Grants<'a, I>,
    now: Timestamp,
) -> Decision<'a> {
    match pick(grants, now) {
        Pick::Decides(terms, source) => of_terms(terms, source),
        Pick::Expired(..) => Decision::nobody(Reason::GrantExpired),
        Pick::Absent => Decision::nobody(Reason::NoGrant),
    }
}

/// The grant that decides, or the first that no longer does.
#[derive(Clone, Copy)]
pub(super) enum Pick<'a> {
    Decides(&'a Terms, GrantSource),
    Expired(&'a Terms, GrantSource),
    Absent,
}

pub(super) fn pick<'a, I: Iterator<Item = &'a Terms>>(
    grants: Grants<'a, I>,
    now: Timestamp,
) -> Pick<'a> {
    let mut otherwise = Pick::Absent;
    let mut exists = |terms: &'a Terms, source| {
        let is_over = terms.status(now) == GrantStatus::Expired;
        if is_over && matches!(otherwise, Pick::Absent) {
            otherwise = Pick::Expired(terms, source);
        }
        !is_over
    };
    let specific = grants.specific;
    if let Some(terms) = specific.filter(|terms| exists(terms, GrantSource::Specific)) {
        return Pick::Decides(terms, GrantSource::Specific);
    }
    let mut first = None;
    for terms in grants.bound {
        if !exists(terms, GrantSource::Bound) {
            continue;
        }
        if !terms.enabled {
            return Pick::Decides(terms, GrantSource::Bound);
        }
        first = first.or(Some(terms));
    }
    if let Some(terms) = first {
        return Pick::Decides(terms, GrantSource::Bound);
    }
    let wildcard = grants.wildcard;
    if let Some(terms) = wildcard.filter(|terms| exists(terms, GrantSource::Wildcard)) {
        return Pick::Decides(terms, GrantSource::Wildcard);
    }
    otherwise
}

fn of_terms(terms: &Terms, source: GrantSource) -> Decision<'_> {
    let decision = Decision {
        allowed: true,
        reason: Reason::Matched,
        agents: &terms.agents,
        source: Some(source),
    };
    if terms.enabled {
        decision
    } else {
        decision.denied(Reason::GrantDisabled)
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
