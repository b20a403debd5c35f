//! How links and grants follow commands and the profile.
//!
//! A binding of the schema makes a profile field the key of a channel: its value is linked when it is set or changed. A
//! field that is only found through a rule or the default name links nothing by itself; a link that it has is kept in
//! step all the same.

use std::collections::BTreeSet;

use super::decide::update;
use super::{AttachGrant, Customer, CustomerEvent, CustomerRefusal, UnlinkIdentity};
use crate::Timestamp;
use crate::access::{Access, ConnectorIdentity, LinkedBy, Terms};
use crate::schema::Schema;
use crate::value::Profile;

fn linked(identity: &ConnectorIdentity, at: Timestamp, linked_by: LinkedBy) -> CustomerEvent {
    CustomerEvent::IdentityLinked {
        at,
        channel: identity.channel.clone(),
        external_user_id: identity.external_user_id.clone().into(),
        linked_by,
    }
}

fn unlinked(identity: &ConnectorIdentity, at: Timestamp, blocks: bool) -> CustomerEvent {
    CustomerEvent::IdentityUnlinked {
        at,
        channel: identity.channel.clone(),
        external_user_id: identity.external_user_id.clone().into(),
        blocks,
    }
}

fn granted(identity: &ConnectorIdentity, at: Timestamp, terms: &Terms) -> CustomerEvent {
    CustomerEvent::GrantSet {
        at,
        channel: identity.channel.clone(),
        external_user_id: identity.external_user_id.clone().into(),
        terms: terms.clone(),
    }
}

/// A change of the profile, as far as identities follow it.
pub(super) struct Move<'a> {
    pub(super) schema: &'a Schema,
    /// Links and grants before the change.
    pub(super) access: &'a Access,
    pub(super) old: Option<&'a Profile>,
    pub(super) new: &'a Profile,
    pub(super) at: Timestamp,
    /// A channel whose new identity the command itself links and grants.
    pub(super) except: Option<&'a str>,
}

impl Move<'_> {
    /// What the change does to identities. A changed value takes the link and the grant of the old one along, a cleared
    /// one ends both.
    pub(super) fn events(&self) -> Vec<CustomerEvent> {
        let bindings = &self.schema.definition().connector_bindings;
        if bindings.is_empty() && self.access.links.is_empty() {
            return Vec::new();
        }
        let bound = bindings.iter().map(|binding| binding.channel.as_str());
        let linked = self.access.links.iter();
        let channels: BTreeSet<&str> = bound
            .chain(linked.map(|link| link.identity.channel.as_str()))
            .collect();
        let mut events = Vec::new();
        for channel in channels {
            self.follow(channel, &mut events);
        }
        events
    }

    fn follow(&self, channel: &str, events: &mut Vec<CustomerEvent>) {
        let field = self.schema.bound_field(channel);
        let old = self.old.and_then(|profile| profile.get(field.as_str()));
        let new = self.new.get(field.as_str());
        if old == new {
            return;
        }
        let read = |value: &crate::value::Value| ConnectorIdentity::read(channel, value.as_text());
        let (was, is) = (old.and_then(read), new.and_then(read));
        if was == is {
            return;
        }
        let was = was.filter(|was| self.access.link(was).is_some());
        let grant = was.as_ref().and_then(|was| self.access.grant(was));
        if let Some(was) = &was {
            events.push(unlinked(was, self.at, false));
        }
        let Some(is) = is.filter(|_| self.except != Some(channel)) else {
            return;
        };
        let has_link = self.access.link(&is).is_some();
        let follows = was.is_some() || self.schema.binds(channel);
        let links = !has_link && follows && !self.access.is_blocked(&is);
        if links {
            events.push(linked(&is, self.at, LinkedBy::Profile));
        }
        if let Some(grant) = grant
            && (has_link || links)
            && self.access.grant(&is).is_none()
        {
            events.push(granted(&is, self.at, &grant.terms));
        }
    }
}

pub(super) fn link(
    customer: &Customer,
    identity: &ConnectorIdentity,
    linked_by: LinkedBy,
    at: Timestamp,
) -> Vec<CustomerEvent> {
    if customer.access.link(identity).is_some() {
        Vec::new()
    } else {
        vec![linked(identity, at, linked_by)]
    }
}

pub(super) fn unlink(
    customer: &Customer,
    unlink: &UnlinkIdentity,
) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    let mut events = Vec::new();
    if customer.access.link(&unlink.identity).is_some() {
        events.push(unlinked(&unlink.identity, unlink.at, true));
    }
    let Some(clear) = &unlink.clear else {
        return Ok(events);
    };
    let schema = &clear.schema;
    for field in clear.changes.keys() {
        let has_value = customer
            .profile
            .known()
            .is_some_and(|profile| profile.contains_key(field));
        let is_kept =
            field == schema.primary_key() || schema.required_fields().any(|name| name == field);
        if has_value && is_kept {
            return Err(CustomerRefusal::FieldRequired {
                field: field.to_string(),
            });
        }
    }
    let after = folded(customer, &events);
    events.extend(update(&after, clear, None)?);
    Ok(events)
}

pub(super) fn attach(
    customer: &Customer,
    attach: &AttachGrant,
) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    let (identity, at) = (&attach.identity, attach.upsert.at);
    let mut events = update(customer, &attach.upsert, Some(&identity.channel))?;
    let after = folded(customer, &events);
    let link = after.access.link(identity);
    if link.is_none_or(|link| link.linked_by != LinkedBy::Admin) {
        events.push(linked(identity, at, LinkedBy::Admin));
    }
    let grant = after.access.grant(identity);
    if grant.is_none_or(|grant| grant.terms != attach.terms) {
        events.push(granted(identity, at, &attach.terms));
    }
    Ok(events)
}

pub(super) fn revoke(
    customer: &Customer,
    channel: &str,
    at: Timestamp,
) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    let events: Vec<CustomerEvent> = customer
        .access
        .grants_on(channel)
        .map(|grant| CustomerEvent::GrantRevoked {
            at,
            channel: channel.to_owned(),
            external_user_id: grant.identity.external_user_id.clone().into(),
        })
        .collect();
    if events.is_empty() {
        return Err(CustomerRefusal::GrantNotFound);
    }
    Ok(events)
}

fn folded(customer: &Customer, events: &[CustomerEvent]) -> Customer {
    let mut after = customer.clone();
    for event in events {
        after.fold(event.clone());
    }
    after
}
