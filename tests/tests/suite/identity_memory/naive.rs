//! The folded log, asked without any index.

use std::collections::HashMap;

use roster_domain::access::{
    ConnectorIdentity, GrantSource, Grants, Hits, Holder, Lookup, Reason, Terms, Trust, Via,
    access, find,
};
use roster_domain::channel_access::{ChannelAccess, ChannelAccessEvent};
use roster_domain::customer::{Customer, CustomerEvent};
use roster_domain::event::StoredEvent;
use roster_domain::value::Value;
use roster_projections::identity::{Asked, Found};
use roster_store::{Cell, Recorded};
use uuid::Uuid;

/// What an answer says.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    customer: Option<(Uuid, String, String, bool)>,
    links: bool,
    pub(super) reason: Reason,
    via: Via,
    trust: Trust,
    rule: Option<(String, String)>,
    allowed: bool,
    agents: Vec<String>,
    grant_source: Option<GrantSource>,
}

impl Shown {
    pub(super) fn of(found: &Found) -> Self {
        Self {
            customer: found.customer.as_ref().map(|person| {
                (
                    person.stream,
                    person.customer_user_id().to_owned(),
                    person.display_name().to_owned(),
                    person.enabled,
                )
            }),
            links: found.links,
            reason: found.reason,
            via: found.via,
            trust: found.trust,
            rule: found
                .rule
                .as_ref()
                .map(|rule| (rule.channel.clone(), rule.field.clone())),
            allowed: found.allowed,
            agents: found.agents().to_vec(),
            grant_source: found.grant_source,
        }
    }
}

/// Everybody.
#[derive(Default)]
pub(super) struct Naive {
    customers: HashMap<Uuid, Customer>,
    channels: HashMap<Uuid, ChannelAccess>,
}

fn is<E: StoredEvent>(recorded: &Recorded) -> bool {
    E::TYPES
        .iter()
        .any(|known| known.type_no == recorded.type_no)
}

impl Naive {
    pub(super) async fn read(cell: &Cell) -> Self {
        let mut naive = Self::default();
        let mut after = 0;
        loop {
            let page = cell.read_page(after, 1_000).await.expect("no hole");
            let Some(last) = page.last() else {
                return naive;
            };
            after = last.position;
            for recorded in &page {
                if is::<CustomerEvent>(recorded) {
                    let event = recorded.decode().expect("it decodes");
                    naive
                        .customers
                        .entry(recorded.stream)
                        .or_default()
                        .fold(event);
                } else if is::<ChannelAccessEvent>(recorded) {
                    let event = recorded.decode().expect("it decodes");
                    naive
                        .channels
                        .entry(recorded.stream)
                        .or_default()
                        .fold(event);
                }
            }
        }
    }

    fn active(&self) -> impl Iterator<Item = (&Uuid, &Customer)> {
        self.customers
            .iter()
            .filter(|(_, customer)| customer.is_active())
    }

    /// The answer, and whether it depends on the order of several grants.
    pub(super) fn find(&self, asked: &Asked<'_>) -> (Shown, bool) {
        let sighting = roster_domain::access::Sighting {
            identity: asked.identity,
            facts: asked.facts,
        };
        let outcome = find(asked.schema, self, sighting);
        let rule = outcome
            .rule
            .map(|rule| (rule.channel.to_owned(), rule.field.to_owned()));
        let Some(matched) = outcome.found else {
            let shown = Shown {
                customer: None,
                links: false,
                reason: outcome.reason,
                via: outcome.via,
                trust: outcome.trust,
                rule,
                allowed: false,
                agents: Vec::new(),
                grant_source: None,
            };
            return (shown, true);
        };
        let customer = &self.customers[&matched.customer];
        let channel = asked.identity.channel.as_str();
        let profile = customer.profile.known().expect("a profile");
        let bound = profile.get(asked.schema.bound_field(channel).as_str());
        let bound = bound.and_then(|value| ConnectorIdentity::read(channel, value.as_text()));
        let mut others: Vec<_> = customer
            .access
            .grants_on(channel)
            .filter(|grant| grant.identity != *asked.identity)
            .collect();
        others.sort_by_key(|grant| (Some(&grant.identity) != bound.as_ref(), &grant.identity));
        let wildcard = self
            .channels
            .values()
            .find(|access| access.channel.as_deref() == Some(channel) && access.terms.is_some());
        let specific = customer.access.grant(asked.identity);
        let decision = access(
            Some(Holder {
                enabled: customer.enabled,
                connector_enabled: customer
                    .connector_enabled
                    .get(channel)
                    .copied()
                    .unwrap_or(true),
            }),
            Grants {
                specific: specific.map(|grant| &grant.terms),
                bound: others.iter().map(|grant| &grant.terms),
                wildcard: wildcard.and_then(|access| access.terms.as_ref()),
            },
            asked.now,
        );
        let is_over = |terms: &Terms| terms.expires_at.is_some_and(|at| at <= asked.now);
        let mut agents = others
            .iter()
            .filter(|grant| !is_over(&grant.terms))
            .map(|grant| &grant.terms.agents);
        let first = agents.next();
        let is_ordered = decision.source != Some(GrantSource::Bound)
            || !decision.allowed
            || agents.all(|other| Some(other) == first);
        let id = customer
            .customer_user_id
            .known()
            .cloned()
            .unwrap_or_default();
        let shown = Shown {
            customer: Some((
                matched.customer,
                id,
                customer.display_name(),
                customer.enabled,
            )),
            links: matched.links,
            reason: decision.reason,
            via: outcome.via,
            trust: outcome.trust,
            rule,
            allowed: decision.allowed,
            agents: decision.agents.to_vec(),
            grant_source: decision.source,
        };
        (shown, is_ordered)
    }
}

impl Lookup for Naive {
    type Customer = Uuid;

    fn linked(&self, identity: &ConnectorIdentity) -> Option<Uuid> {
        let mut linked = self
            .active()
            .filter(|(_, customer)| customer.access.link(identity).is_some());
        let found = linked.next().map(|(stream, _)| *stream);
        assert!(linked.next().is_none(), "an identity is one customer's");
        found
    }

    fn holders(&self, field: &str, value: &str) -> Hits<Uuid> {
        let mut holders = self.active().filter(|(_, customer)| {
            let profile = customer.profile.known().expect("a profile");
            profile.get(field).map(Value::as_text) == Some(value)
        });
        match (holders.next(), holders.next()) {
            (None, _) => Hits::None,
            (Some((stream, _)), None) => Hits::One(*stream),
            (Some(_), Some(_)) => Hits::Several,
        }
    }

    fn is_blocked(&self, identity: &ConnectorIdentity, customer: Uuid) -> bool {
        self.customers[&customer].access.is_blocked(identity)
    }
}
