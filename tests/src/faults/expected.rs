//! The model of a campaign: what customers, links and grants must be, by applying what was said in the order of the log.

use std::collections::{BTreeMap, HashMap};

use roster_domain::access::ConnectorIdentity;

use super::ledger::Entry;
use super::said::{Command, OWN, Person, Said, own_identity};
use crate::fold::Log;

/// What must be there in the end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expected {
    /// Customers of callers, by id.
    pub(super) people: BTreeMap<String, Person>,
    /// Who an identity of a channel is of.
    pub(super) links: BTreeMap<(String, String), String>,
    /// The agent of an identity's grant.
    pub(super) grants: BTreeMap<(String, String), String>,
}

impl Expected {
    /// Applies what the log has of what was said, in its order.
    pub(super) fn of(said: &Said, entries: &[Entry], log: &Log) -> Self {
        let by_trace: HashMap<&str, &Command> = said
            .attempts
            .iter()
            .map(|attempt| (attempt.trace.as_str(), &said.commands[attempt.command]))
            .collect();
        let command_of = |entry: &Entry| {
            let command = *by_trace.get(entry.trace.as_deref()?)?;
            command.events().contains(&entry.name).then_some(command)
        };
        // Which customer a stream is: from the state, or from the deletion that ended it.
        let mut ids: HashMap<String, String> = log
            .active()
            .filter_map(|(stream, folded)| {
                Some((
                    stream.to_string(),
                    folded.customer.customer_user_id.known()?.clone(),
                ))
            })
            .collect();
        for entry in entries {
            if let Some(Command::Delete { id }) = command_of(entry) {
                ids.insert(entry.stream.clone(), id.clone());
            }
        }
        let mut expected = Self::default();
        for entry in entries {
            if let Some(command) = command_of(entry) {
                expected.apply(command, ids.get(&entry.stream));
            }
        }
        expected
    }

    fn apply(&mut self, command: &Command, id: Option<&String>) {
        let key = |channel: &str, identity: &str| (channel.to_owned(), identity.to_owned());
        match command {
            Command::Upsert { person } => {
                self.people.insert(person.id.clone(), person.clone());
            }
            Command::Bulk { people } => {
                let person = people.iter().find(|person| Some(&person.id) == id);
                self.people
                    .extend(person.map(|person| (person.id.clone(), person.clone())));
            }
            Command::Delete { id } => {
                self.people.remove(id);
                self.links.retain(|_, of| of != id);
                let links = &self.links;
                self.grants
                    .retain(|identity, _| links.contains_key(identity));
            }
            Command::Link {
                id,
                channel,
                identity,
            } => {
                self.links.insert(key(channel, identity), id.clone());
            }
            Command::Unlink { channel, identity } => {
                self.links.remove(&key(channel, identity));
                self.grants.remove(&key(channel, identity));
            }
            Command::Grant { id, agent } => {
                self.links.insert(key(OWN, &own_identity(id)), id.clone());
                self.grants
                    .insert(key(OWN, &own_identity(id)), agent.clone());
            }
            Command::Revoke { id } => {
                self.grants.remove(&key(OWN, &own_identity(id)));
            }
            _ => {}
        }
    }

    /// What the fold of the log has instead, as far as callers' customers go.
    pub(super) fn folded(log: &Log) -> Self {
        let mut found = Self::default();
        for (_, folded) in log.active() {
            let customer = &folded.customer;
            let (Some(id), Some(profile)) =
                (customer.customer_user_id.known(), customer.profile.known())
            else {
                continue;
            };
            if !id.starts_with('c') {
                continue;
            }
            let text = |name: &str| {
                profile
                    .get(name)
                    .map_or("", |value| value.as_text())
                    .to_owned()
            };
            let person = Person {
                id: id.clone(),
                mark: text("mark"),
                email: text("email"),
                enabled: customer.enabled,
            };
            found.people.insert(id.clone(), person);
            let key = |identity: &ConnectorIdentity| {
                (identity.channel.clone(), identity.external_user_id.clone())
            };
            for link in &customer.access.links {
                found.links.insert(key(&link.identity), id.clone());
            }
            for grant in &customer.access.grants {
                found
                    .grants
                    .insert(key(&grant.identity), grant.terms.agents.join(","));
            }
        }
        found
    }

    /// Where the two differ, one text each.
    pub(super) fn differences(&self, found: &Self) -> Vec<String> {
        let mut all = differences("customer", &self.people, &found.people);
        all.extend(differences("link", &self.links, &found.links));
        all.extend(differences("grant", &self.grants, &found.grants));
        all
    }
}

fn differences<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Vec<String> {
    let keys = expected
        .keys()
        .chain(found.keys().filter(|key| !expected.contains_key(key)));
    keys.filter(|key| expected.get(key) != found.get(key))
        .map(|key| {
            let (expected, found) = (expected.get(key), found.get(key));
            format!("the {what} {key:?} is {found:?} and must be {expected:?}")
        })
        .collect()
}
