//! The links, grants and blocks of one customer.

use serde::{Deserialize, Serialize};

use super::{ConnectorIdentity, Terms};
use crate::Timestamp;

/// Who made a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkedBy {
    /// `identities/link`.
    Manual,
    /// A channel grant.
    Admin,
    /// The value of a bound profile field.
    Profile,
    /// A match rule.
    Auto,
}

impl LinkedBy {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Manual, Self::Admin, Self::Profile, Self::Auto];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Admin => "admin",
            Self::Profile => "profile",
            Self::Auto => "auto",
        }
    }

    /// The stored number, 0 to 3.
    pub const fn number(self) -> i16 {
        match self {
            Self::Manual => 0,
            Self::Admin => 1,
            Self::Profile => 2,
            Self::Auto => 3,
        }
    }

    /// The one with a stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.number() == number)
    }
}

/// An identity that is bound to the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which.
    pub identity: ConnectorIdentity,
    /// Who bound it.
    pub linked_by: LinkedBy,
    /// When.
    pub linked_at: Timestamp,
}

/// What the bearer of an identity may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whose.
    pub identity: ConnectorIdentity,
    /// Which agents, and whether.
    pub terms: Terms,
    /// When the terms were set.
    pub granted_at: Timestamp,
}

/// Everything about identities that a customer holds; each list in the order of its identities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Bound identities.
    pub links: Vec<Link>,
    /// Grants, each of a bound identity.
    pub grants: Vec<Grant>,
    /// Identities that were unbound and that no rule binds again.
    pub blocked: Vec<ConnectorIdentity>,
}

impl Access {
    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.links.is_empty() && self.grants.is_empty() && self.blocked.is_empty()
    }

    /// The link of an identity.
    pub fn link(&self, identity: &ConnectorIdentity) -> Option<&Link> {
        self.links.iter().find(|link| link.identity == *identity)
    }

    /// The links on a channel.
    pub fn links_on<'a>(&'a self, channel: &'a str) -> impl Iterator<Item = &'a Link> {
        self.links
            .iter()
            .filter(move |link| link.identity.channel == channel)
    }

    /// The grant of an identity.
    pub fn grant(&self, identity: &ConnectorIdentity) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.identity == *identity)
    }

    /// The grants on a channel.
    pub fn grants_on<'a>(&'a self, channel: &'a str) -> impl Iterator<Item = &'a Grant> {
        self.grants
            .iter()
            .filter(move |grant| grant.identity.channel == channel)
    }

    /// Whether rules leave an identity alone.
    pub fn is_blocked(&self, identity: &ConnectorIdentity) -> bool {
        self.blocked.contains(identity)
    }

    /// Binds an identity, which ends its block.
    pub fn bind(&mut self, link: Link) {
        self.blocked.retain(|blocked| *blocked != link.identity);
        self.links.retain(|known| known.identity != link.identity);
        let place = self
            .links
            .partition_point(|known| known.identity < link.identity);
        self.links.insert(place, link);
    }

    /// Unbinds an identity, and takes its grant.
    pub fn unbind(&mut self, identity: ConnectorIdentity, blocks: bool) {
        self.links.retain(|link| link.identity != identity);
        self.revoke(&identity);
        if blocks && !self.is_blocked(&identity) {
            let place = self.blocked.partition_point(|known| *known < identity);
            self.blocked.insert(place, identity);
        }
    }

    /// Sets the grant of an identity.
    pub fn set(&mut self, grant: Grant) {
        self.revoke(&grant.identity);
        let place = self
            .grants
            .partition_point(|known| known.identity < grant.identity);
        self.grants.insert(place, grant);
    }

    /// Takes the grant of an identity.
    pub fn revoke(&mut self, identity: &ConnectorIdentity) {
        self.grants.retain(|grant| grant.identity != *identity);
    }
}
