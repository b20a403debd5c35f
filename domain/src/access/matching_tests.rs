//! Matching against a directory in memory.

use super::{Facts, Hits, Lookup, Outcome, Sighting, Trust, Via, find};
use crate::access::{ConnectorIdentity, Reason};
use crate::channel::Fact;
use crate::schema::{Definition, Field, FieldType, MatchRule, Schema};

/// Values by field and customer, links and blocked pairs.
#[derive(Default)]
struct Book {
    values: Vec<(&'static str, &'static str, u32)>,
    links: Vec<(ConnectorIdentity, u32)>,
    blocked: Vec<(ConnectorIdentity, u32)>,
}

impl Lookup for Book {
    type Customer = u32;

    fn linked(&self, identity: &ConnectorIdentity) -> Option<u32> {
        let link = self.links.iter().find(|(known, _)| known == identity);
        link.map(|(_, customer)| *customer)
    }

    fn holders(&self, field: &str, value: &str) -> Hits<u32> {
        let mut found = self
            .values
            .iter()
            .filter(|(name, text, _)| (*name, *text) == (field, value));
        match (found.next(), found.next()) {
            (None, _) => Hits::None,
            (Some((_, _, customer)), None) => Hits::One(*customer),
            (Some(_), Some(_)) => Hits::Several,
        }
    }

    fn is_blocked(&self, identity: &ConnectorIdentity, customer: u32) -> bool {
        self.blocked.contains(&(identity.clone(), customer))
    }
}

fn rule(channel: &str, field: &str, source: Option<Fact>, fallback: bool) -> MatchRule {
    MatchRule {
        channel: channel.into(),
        field: field.into(),
        source,
        fallback,
    }
}

fn schema(rules: Vec<MatchRule>) -> Schema {
    let definition = Definition {
        match_rules: rules,
        ..Definition::default()
    };
    compile(definition)
}

fn compile(mut definition: Definition) -> Schema {
    definition.fields.extend([
        Field::new("handle", FieldType::String),
        Field::new("member_no", FieldType::Number),
    ]);
    Schema::compile(definition, 1).expect("a valid schema")
}

fn identity(channel: &str, id: &str) -> ConnectorIdentity {
    ConnectorIdentity::read(channel, id).expect("an identity")
}

fn see<'a>(
    schema: &'a Schema,
    book: &Book,
    who: &ConnectorIdentity,
    facts: &Facts,
) -> Outcome<'a, u32> {
    find(
        schema,
        book,
        Sighting {
            identity: who,
            facts,
        },
    )
}

fn email(address: &str) -> Facts {
    Facts {
        email: Some(address.into()),
        ..Facts::default()
    }
}

fn called(name: &str) -> Facts {
    Facts {
        username: Some(name.into()),
        ..Facts::default()
    }
}

#[test]
fn an_exact_link_comes_before_every_rule() {
    let who = identity("slack", "U1");
    let book = Book {
        values: vec![("email", "a@b.co", 1)],
        links: vec![(who.clone(), 2)],
        blocked: vec![(who.clone(), 2)],
    };
    let schema = schema(vec![rule("slack", "email", None, false)]);
    let found = see(&schema, &book, &who, &email("a@b.co"));
    assert_eq!(
        found.found.map(|found| (found.customer, found.links)),
        Some((2, false))
    );
    assert_eq!(
        (found.via, found.trust, found.rule),
        (Via::Link, Trust::Linked, None)
    );
}

#[test]
fn rules_apply_in_order_and_those_of_the_channel_first() {
    let book = Book {
        values: vec![
            ("email", "a@b.co", 1),
            ("handle", "ada", 2),
            ("phone", "+491701234567", 3),
        ],
        ..Book::default()
    };
    let facts = Facts {
        email: Some(" A@B.co ".into()),
        phone: Some("0049 170 1234567".into()),
        username: Some(" ada ".into()),
        ..Facts::default()
    };
    let who = identity("slack", "U1");
    let everywhere = || rule("*", "phone", Some(Fact::Phone), false);
    let own = |field, source| rule("slack", field, Some(source), false);
    let customer = |rules| {
        let schema = schema(rules);
        see(&schema, &book, &who, &facts)
            .found
            .map(|found| found.customer)
    };
    assert_eq!(
        customer(vec![everywhere(), own("email", Fact::Email)]),
        Some(1)
    );
    assert_eq!(
        customer(vec![
            own("handle", Fact::Username),
            own("email", Fact::Email)
        ]),
        Some(2)
    );
    assert_eq!(customer(vec![everywhere()]), Some(3));
    // A rule without a hit hands on to the next one; a rule of another channel is none.
    assert_eq!(
        customer(vec![own("full_name", Fact::Username), everywhere()]),
        Some(3)
    );
    assert_eq!(
        customer(vec![rule("line", "email", Some(Fact::Email), false)]),
        None
    );
}

#[test]
fn fallbacks_are_tried_only_when_no_other_rule_had_a_value() {
    let book = Book {
        values: vec![("email", "a@b.co", 1), ("handle", "U1", 2)],
        ..Book::default()
    };
    let who = identity("line", "U1");
    let schema = schema(vec![
        rule("line", "handle", Some(Fact::ExternalUserId), true),
        rule("line", "email", Some(Fact::Email), false),
    ]);
    let with = |facts: &Facts| {
        see(&schema, &book, &who, facts)
            .found
            .map(|found| found.customer)
    };
    assert_eq!(with(&Facts::default()), Some(2));
    assert_eq!(with(&email("a@b.co")), Some(1));
    assert_eq!(with(&email("nobody@b.co")), None);
    assert_eq!(
        with(&email("no address")),
        Some(2),
        "what cannot be read is no value"
    );
}

#[test]
fn several_hits_match_nobody() {
    let book = Book {
        values: vec![
            ("email", "a@b.co", 1),
            ("email", "a@b.co", 2),
            ("handle", "U1", 3),
        ],
        ..Book::default()
    };
    let schema = schema(vec![
        rule("line", "email", Some(Fact::Email), false),
        rule("line", "handle", None, false),
    ]);
    let found = see(&schema, &book, &identity("line", "U1"), &email("a@b.co"));
    assert_eq!(
        (found.found, found.reason, found.trust),
        (None, Reason::Ambiguous, Trust::None)
    );
    assert_eq!(found.rule.map(|rule| rule.field), Some("email"));
}

#[test]
fn a_blocked_pair_is_left_alone_and_others_are_not() {
    let who = identity("line", "U1");
    let mut book = Book {
        values: vec![("email", "a@b.co", 1)],
        blocked: vec![(who.clone(), 1)],
        ..Book::default()
    };
    let schema = schema(vec![
        rule("line", "email", Some(Fact::Email), false),
        rule("line", "handle", None, false),
    ]);
    let found = see(&schema, &book, &who, &email("a@b.co"));
    assert_eq!((found.found, found.reason), (None, Reason::Blocked));
    book.values.push(("handle", "U1", 2));
    let found = see(&schema, &book, &who, &email("a@b.co"));
    assert_eq!(found.found.map(|found| found.customer), Some(2));
    let other = see(&schema, &book, &identity("line", "U9"), &email("a@b.co"));
    assert_eq!(other.found.map(|found| found.customer), Some(1));
}

#[test]
fn the_identity_itself_is_the_fact_of_its_channel() {
    let book = Book {
        values: vec![
            ("phone", "+491701234567", 1),
            ("email", "a@b.co", 2),
            ("member_no", "77", 3),
        ],
        ..Book::default()
    };
    let schema = schema(vec![
        rule("whatsapp", "phone", None, false),
        rule("sms", "phone", Some(Fact::Phone), false),
        rule("email", "email", None, false),
        rule("slack", "email", None, false),
        rule("discord", "member_no", None, false),
    ]);
    for (channel, id, customer) in [
        ("whatsapp", "491701234567", Some(1)),
        ("sms", "0049 (170) 1234567", Some(1)),
        ("email", "A@b.co", Some(2)),
        ("slack", "A@b.co", Some(2)),
        ("slack", "U1", None),
        ("discord", "0077", Some(3)),
        // National numbers are not guessed at run time.
        ("whatsapp", "0170 1234567", None),
    ] {
        let found = see(&schema, &book, &identity(channel, id), &Facts::default());
        assert_eq!(
            found.found.map(|found| found.customer),
            customer,
            "{channel} {id}"
        );
    }
    // A fact that is given comes before the identity.
    let facts = Facts {
        phone: Some("+49 170 1234567".into()),
        ..Facts::default()
    };
    let found = see(
        &schema,
        &book,
        &identity("whatsapp", "+4915100000000"),
        &facts,
    );
    assert_eq!(found.found.map(|found| found.customer), Some(1));
}

#[test]
fn only_a_fact_that_is_vouched_for_links() {
    let book = Book {
        values: vec![
            ("email", "a@b.co", 1),
            ("phone", "+491701234567", 1),
            ("handle", "ada", 1),
        ],
        ..Book::default()
    };
    let rules = || {
        vec![
            rule("*", "email", Some(Fact::Email), false),
            rule("*", "phone", Some(Fact::Phone), false),
            rule("*", "handle", Some(Fact::Username), false),
        ]
    };
    let trusting = schema(rules());
    let asking = compile(Definition {
        match_rules: rules(),
        auto_match: false,
        ..Definition::default()
    });
    let vouched = Facts {
        verified: vec![Fact::Email],
        ..email("a@b.co")
    };
    for (channel, id, facts, trust) in [
        ("slack", "U1", email("a@b.co"), Trust::Rule),
        ("web_widget", "visitor", email("a@b.co"), Trust::Claimed),
        ("web_widget", "a@b.co", Facts::default(), Trust::Claimed),
        ("web_widget", "visitor", vouched, Trust::Rule),
        ("whatsapp", "+491701234567", Facts::default(), Trust::Rule),
        ("line", "U1", email("a@b.co"), Trust::Claimed),
        ("telegram", "4711", called("ada"), Trust::Rule),
        ("whatsapp", "+491701234599", called("ada"), Trust::Claimed),
        ("slack", "U1", called("ada"), Trust::Claimed),
    ] {
        let who = identity(channel, id);
        let found = see(&trusting, &book, &who, &facts);
        let links = trust == Trust::Rule;
        assert_eq!(
            (found.trust, found.found.map(|found| found.links)),
            (trust, Some(links)),
            "{channel} {id}"
        );
        let found = see(&asking, &book, &who, &facts);
        assert_eq!(
            found.found.map(|found| found.links),
            Some(false),
            "{channel} {id}"
        );
    }
}
