//! Who is behind an identity: the exact link, else the match rules of the schema.
//!
//! The rules of the channel come first, in their order, then those of every channel; fallback rules are asked only when
//! no other rule had a value to try. The first rule that hits decides: a rule that hits several customers is ambiguous,
//! and nobody is guessed. A customer who was unlinked from the identity is never found by a rule.

use super::{ConnectorIdentity, Reason};
use crate::channel::{Channel, Fact};
use crate::schema::{CompiledField, FieldType, MatchRule, Schema};
use crate::value::{email, number, phone, text};

/// What a channel tells of a person beside the identity.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// A telephone number.
    pub phone: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// A handle.
    pub username: Option<String>,
    /// The facts that the caller vouches for.
    pub verified: Vec<Fact>,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Facts")
            .field("verified", &self.verified)
            .finish_non_exhaustive()
    }
}

/// Somebody who wrote on a channel.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// As whom.
    pub identity: &'a ConnectorIdentity,
    /// What else the channel tells.
    pub facts: &'a Facts,
}

/// The customers who have a value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits<C> {
    /// Nobody.
    None,
    /// One.
    One(C),
    /// More than one.
    Several,
}

/// What matching asks of a directory.
pub trait Lookup {
    /// How the directory names a customer.
    type Customer: Copy;

    /// The customer who is linked to an identity.
    fn linked(&self, identity: &ConnectorIdentity) -> Option<Self::Customer>;

    /// The customers whose field has a canonical value.
    fn holders(&self, field: &str, value: &str) -> Hits<Self::Customer>;

    /// Whether rules leave a customer and an identity apart.
    fn is_blocked(&self, identity: &ConnectorIdentity, customer: Self::Customer) -> bool;
}

/// How a customer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By the exact link.
    Link,
    /// By a match rule.
    Rule,
    /// Not at all.
    None,
}

impl Via {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Rule => "rule",
            Self::None => "none",
        }
    }
}

/// How far the channel vouches for the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the exact link.
    Linked,
    /// By a unique rule over a fact that the channel verifies.
    Rule,
    /// By a fact that anybody can type.
    Claimed,
    /// Nobody was found.
    None,
}

impl Trust {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Rule => "rule",
            Self::Claimed => "claimed",
            Self::None => "none",
        }
    }
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedRule<'a> {
    /// The channel that it is listed for, or `*`.
    pub channel: &'a str,
    /// The field that was looked up.
    pub field: &'a str,
    /// The fact that it was looked up by.
    pub source: Fact,
}

/// A customer who was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched<C> {
    /// Whom.
    pub customer: C,
    /// Whether the identity is to be linked now. A fact that nobody vouches for links nothing: a link would vouch for it
    /// from then on.
    pub links: bool,
}

/// What matching came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a, C> {
    /// The customer, if one was found.
    pub found: Option<Matched<C>>,
    /// `Matched`, `Unmatched`, `Ambiguous` or `Blocked`.
    pub reason: Reason,
    /// How.
    pub via: Via,
    /// The rule that decided, if one did.
    pub rule: Option<UsedRule<'a>>,
    /// How far the channel vouches for it.
    pub trust: Trust,
}

impl<'a, C> Outcome<'a, C> {
    const fn nobody(reason: Reason, rule: Option<UsedRule<'a>>) -> Self {
        Self {
            found: None,
            reason,
            via: Via::None,
            rule,
            trust: Trust::None,
        }
    }
}

/// Finds the customer behind a sighting.
pub fn find<'a, L: Lookup>(
    schema: &'a Schema,
    lookup: &L,
    sighting: Sighting<'_>,
) -> Outcome<'a, L::Customer> {
    if let Some(customer) = lookup.linked(sighting.identity) {
        return Outcome {
            found: Some(Matched {
                customer,
                links: false,
            }),
            reason: Reason::Matched,
            via: Via::Link,
            rule: None,
            trust: Trust::Linked,
        };
    }
    let mut has_tried = false;
    let mut blocked = None;
    for is_fallback in [false, true] {
        if is_fallback && has_tried {
            break;
        }
        for rule in rules(schema, &sighting.identity.channel, is_fallback) {
            let source = rule
                .source
                .unwrap_or_else(|| own_fact(&sighting.identity.channel));
            let Some(value) = value(schema, &rule.field, source, sighting) else {
                continue;
            };
            has_tried = true;
            let used = UsedRule {
                channel: &rule.channel,
                field: &rule.field,
                source,
            };
            match lookup.holders(&rule.field, &value) {
                Hits::None => {}
                Hits::Several => return Outcome::nobody(Reason::Ambiguous, Some(used)),
                Hits::One(customer) if lookup.is_blocked(sighting.identity, customer) => {
                    blocked = blocked.or(Some(used));
                }
                Hits::One(customer) => {
                    let is_verified = verifies(sighting, source);
                    return Outcome {
                        found: Some(Matched {
                            customer,
                            links: is_verified && schema.definition().auto_match,
                        }),
                        reason: Reason::Matched,
                        via: Via::Rule,
                        rule: Some(used),
                        trust: if is_verified {
                            Trust::Rule
                        } else {
                            Trust::Claimed
                        },
                    };
                }
            }
        }
    }
    match blocked {
        Some(rule) => Outcome::nobody(Reason::Blocked, Some(rule)),
        None => Outcome::nobody(Reason::Unmatched, None),
    }
}

/// The rules of a channel, then those of every channel; fallbacks or the others.
fn rules<'a>(
    schema: &'a Schema,
    channel: &str,
    fallback: bool,
) -> impl Iterator<Item = &'a MatchRule> {
    let of = |name: String| {
        let rules = schema.definition().match_rules.iter();
        rules.filter(move |rule| rule.channel == name && rule.fallback == fallback)
    };
    of(channel.to_owned()).chain(of("*".to_owned()))
}

/// The fact that a channel identifies people by.
fn own_fact(channel: &str) -> Fact {
    Channel::find(channel).map_or(Fact::ExternalUserId, |channel| channel.fact)
}

/// The value that a rule looks up, as its field spells it; `None` where the sighting has none.
fn value(schema: &Schema, field: &str, source: Fact, sighting: Sighting<'_>) -> Option<String> {
    let identity = sighting.identity;
    // Where the identity itself is the number or the address, a channel need not repeat it.
    let own = (own_fact(&identity.channel) == source).then_some(&identity.external_user_id);
    let fact = match source {
        Fact::Phone => sighting.facts.phone.as_ref().or(own),
        Fact::Email => sighting.facts.email.as_ref().or(own),
        Fact::Username => sighting.facts.username.as_ref(),
        Fact::ExternalUserId => Some(&identity.external_user_id),
    }?;
    let fact = match source {
        Fact::Phone => phone::international(fact)?,
        Fact::Email => email::canonical(fact)?,
        Fact::Username | Fact::ExternalUserId => text::canonical(fact)?.to_owned(),
    };
    let spelled = match schema.field(field).map(CompiledField::field_type) {
        Some(FieldType::Phone) => phone::international(&fact)?,
        Some(FieldType::Email) => email::canonical(&fact)?,
        Some(FieldType::Number) => number::canonical(&fact)?,
        Some(FieldType::Boolean) => return None,
        Some(FieldType::String) | None => fact,
    };
    (!spelled.is_empty()).then_some(spelled)
}

/// Whether the channel, or the caller, vouches for a fact.
fn verifies(sighting: Sighting<'_>, fact: Fact) -> bool {
    let channel = sighting.identity.channel.as_str();
    let own = own_fact(channel);
    // A channel of accounts knows the name of each; beside a number or an address it is what somebody calls himself.
    let is_own = own == fact
        || fact == Fact::ExternalUserId
        || (fact == Fact::Username && own == Fact::ExternalUserId);
    // What a visitor of a web page types is anybody's word.
    (is_own && channel != "web_widget") || sighting.facts.verified.contains(&fact)
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
