//! What a customer may use, channel by channel, as people look at it.

use std::collections::{BTreeMap, BTreeSet};

use super::decision::{Pick, pick};
use super::{Access, ConnectorIdentity, GrantSource, GrantStatus, Grants, Link, Terms};
use crate::Timestamp;
use crate::schema::Schema;
use crate::value::{Profile, Value};

/// The customer whose access is shown.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// Whether the customer may use anything.
    pub enabled: bool,
    /// Channels with an explicit switch; an absent channel is on.
    pub connector_enabled: &'a BTreeMap<String, bool>,
    /// The values.
    pub profile: &'a Profile,
    /// Links and grants.
    pub access: &'a Access,
}

/// One channel of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRow {
    /// The channel.
    pub channel: String,
    /// Whether it is on for the customer.
    pub connector_enabled: bool,
    /// The field that holds the identity.
    pub profile_field: String,
    /// Its value.
    pub connector_value: Option<String>,
    /// The link of the bound key, else the newest one on the channel.
    pub link: Option<Link>,
    /// The grant that decides.
    pub grant: GrantRow,
    /// Whether the customer may use any agent there now.
    pub effective_enabled: bool,
}

/// The grant that decides; the default where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantRow {
    /// Whether it is in force; `None` where there is none.
    pub status: Option<GrantStatus>,
    /// Its agents.
    pub agents: Vec<String>,
    /// Its end.
    pub expires_at: Option<Timestamp>,
    /// Where it is.
    pub source: Option<GrantSource>,
}

impl GrantRow {
    /// A grant as it is at a time.
    pub fn of(terms: &Terms, source: GrantSource, now: Timestamp) -> Self {
        Self {
            status: Some(terms.status(now)),
            agents: terms.agents.clone(),
            expires_at: terms.expires_at,
            source: Some(source),
        }
    }
}

/// The channels of the schema and those that a customer is linked on, by name.
pub fn channels<'a>(schema: &'a Schema, access: &'a Access) -> BTreeSet<&'a str> {
    let linked = access.links.iter();
    schema
        .channels()
        .chain(linked.map(|link| link.identity.channel.as_str()))
        .collect()
}

/// A row for each of the customer's [`channels`].
pub fn channel_rows(
    schema: &Schema,
    person: &Person<'_>,
    wildcards: &BTreeMap<String, Terms>,
    now: Timestamp,
) -> Vec<ChannelRow> {
    channels(schema, person.access)
        .into_iter()
        .map(|channel| channel_row(schema, person, wildcards.get(channel), channel, now))
        .collect()
}

/// The row of one channel, whose name is canonical.
pub fn channel_row(
    schema: &Schema,
    person: &Person<'_>,
    wildcard: Option<&Terms>,
    channel: &str,
    now: Timestamp,
) -> ChannelRow {
    let access = person.access;
    let profile_field = schema.bound_field(channel);
    let connector_value = person
        .profile
        .get(profile_field.as_str())
        .map(Value::as_text);
    let bound = connector_value.and_then(|text| ConnectorIdentity::read(channel, text));
    let newest = || access.links_on(channel).max_by_key(|link| link.linked_at);
    let link = bound
        .as_ref()
        .and_then(|bound| access.link(bound))
        .or_else(newest);
    // Nobody becomes this customer by a value that was unlinked from them.
    let matched = bound.as_ref().filter(|bound| !access.is_blocked(bound));
    let sighted = link.map(|link| &link.identity).or(matched);
    let specific = sighted.and_then(|identity| access.grant(identity));
    let others = access
        .grants_on(channel)
        .filter(|grant| Some(&grant.identity) != sighted);
    let picked = pick(
        Grants {
            specific: specific.map(|grant| &grant.terms),
            bound: others.map(|grant| &grant.terms),
            wildcard,
        },
        now,
    );
    let connector_enabled = person
        .connector_enabled
        .get(channel)
        .copied()
        .unwrap_or(true);
    let is_allowed = matches!(picked, Pick::Decides(terms, _) if terms.enabled);
    ChannelRow {
        channel: channel.to_owned(),
        connector_enabled,
        connector_value: connector_value.map(str::to_owned),
        effective_enabled: person.enabled && connector_enabled && is_allowed && sighted.is_some(),
        link: link.cloned(),
        grant: match picked {
            Pick::Decides(terms, source) | Pick::Expired(terms, source) => {
                GrantRow::of(terms, source, now)
            }
            Pick::Absent => GrantRow::default(),
        },
        profile_field,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Person, channel_rows};
    use crate::Timestamp;
    use crate::access::{
        Access, ConnectorIdentity, Grant, GrantSource, GrantStatus, Link, LinkedBy, Terms,
    };
    use crate::schema::{ConnectorBinding, Definition, Schema};
    use crate::value::{Profile, Value};

    fn schema() -> Schema {
        let mut definition = Definition::default();
        definition.connector_bindings.push(ConnectorBinding {
            channel: "sms".into(),
            profile_field: "phone".into(),
            source: None,
            required: false,
            label: None,
        });
        Schema::compile(definition, 1).expect("a valid schema")
    }

    fn identity(channel: &str, id: &str) -> ConnectorIdentity {
        ConnectorIdentity::read(channel, id).expect("an identity")
    }

    #[test]
    fn a_row_shows_the_grant_that_decides_and_what_it_comes_to() {
        let terms = |agent: &str| Terms {
            agents: vec![agent.into()],
            enabled: true,
            expires_at: None,
        };
        let mut access = Access::default();
        for (id, at) in [("U1", 1), ("U2", 2)] {
            access.bind(Link {
                identity: identity("line", id),
                linked_by: LinkedBy::Manual,
                linked_at: Timestamp(at),
            });
        }
        access.set(Grant {
            identity: identity("line", "U1"),
            terms: terms("sales"),
            granted_at: Timestamp(1),
        });
        let profile: Profile = [("phone".into(), Value::Text("+491701234567".into()))].into();
        let wildcards = BTreeMap::from([("sms".to_owned(), terms("*"))]);
        let rows = |enabled, connector_enabled: &BTreeMap<String, bool>| {
            let person = Person {
                enabled,
                connector_enabled,
                profile: &profile,
                access: &access,
            };
            channel_rows(&schema(), &person, &wildcards, Timestamp(5))
        };
        let all = rows(true, &BTreeMap::new());
        let [line, sms] = all.as_slice() else {
            panic!("two channels: {all:?}");
        };
        assert_eq!(
            (line.profile_field.as_str(), &line.connector_value),
            ("line_primary_key", &None)
        );
        assert_eq!(
            line.link.as_ref().map(|link| &link.identity),
            Some(&identity("line", "U2"))
        );
        assert_eq!(
            (line.grant.source, line.grant.status, line.effective_enabled),
            (Some(GrantSource::Bound), Some(GrantStatus::Active), true)
        );
        assert_eq!(sms.connector_value.as_deref(), Some("+491701234567"));
        assert_eq!(
            (&sms.link, sms.grant.source, sms.effective_enabled),
            (&None, Some(GrantSource::Wildcard), true)
        );
        let off = rows(true, &BTreeMap::from([("sms".to_owned(), false)]));
        assert!(off[0].effective_enabled && !off[1].effective_enabled);
        assert!(
            rows(false, &BTreeMap::new())
                .iter()
                .all(|row| !row.effective_enabled)
        );
        let mut unlinked = access.clone();
        unlinked.blocked = vec![identity("sms", "+491701234567")];
        let person = Person {
            enabled: true,
            connector_enabled: &BTreeMap::new(),
            profile: &profile,
            access: &unlinked,
        };
        let rows = channel_rows(&schema(), &person, &wildcards, Timestamp(5));
        assert!(rows[0].effective_enabled && !rows[1].effective_enabled);
        assert_eq!(rows[1].grant.source, Some(GrantSource::Wildcard));
    }
}
