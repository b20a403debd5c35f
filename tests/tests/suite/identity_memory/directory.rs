//! Random changes of a small directory, in which everything is fought for.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use roster_commands::{
    Applied, AttachInput, CommandError, Context, Directory, Grantee, LinkInput, Linked,
    SchemaInput, UnlinkInput, UpsertInput,
};
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts};
use roster_domain::channel::Fact;
use roster_domain::schema::{ConnectorBinding, Definition, Field, FieldType, MatchRule};
use roster_domain::value::Input;

pub(super) const CHANNELS: [&str; 4] = ["sms", "whatsapp", "web_widget", "line"];
pub(super) const IDENTITIES: u32 = 12;
const CUSTOMERS: u32 = 14;
/// Fields that rules name; `email` is unique, and `customer_user_id` is the id.
const FIELDS: [&str; 5] = ["phone", "email", "badge", "score", "customer_user_id"];

/// An upsert that sets some texts.
pub(super) fn upsert(id: &str, texts: &[(&str, &str)]) -> UpsertInput {
    let text = |(name, text): &(&str, &str)| ((*name).into(), Input::Text((*text).into()));
    UpsertInput {
        customer_user_id: Some(id.to_owned()),
        profile: texts.iter().map(text).collect(),
        enabled: None,
        connector_enabled: BTreeMap::new(),
        data_source: None,
        replace: false,
        expected_version: None,
    }
}

pub(super) async fn link(
    directory: &Directory,
    ctx: &Context,
    id: &str,
    channel: &str,
    external_user_id: &str,
) -> Result<Applied<Linked>, CommandError> {
    let input = LinkInput {
        channel: channel.to_owned(),
        external_user_id: external_user_id.to_owned(),
        customer_user_id: id.to_owned(),
    };
    directory.link_identity(ctx, input).await
}

fn text_of(channel: &str, number: u32) -> String {
    match channel {
        "sms" | "whatsapp" => phone(number),
        "web_widget" => email(number),
        _ => badge(number),
    }
}

fn phone(number: u32) -> String {
    format!("+49170{number:07}")
}

fn email(number: u32) -> String {
    format!("p{number}@example.org")
}

fn badge(number: u32) -> String {
    format!("{number}")
}

pub(super) fn identity(channel: &str, number: u32) -> ConnectorIdentity {
    ConnectorIdentity::read(channel, &text_of(channel, number)).expect("an identity")
}

pub(super) fn random_identity(random: &mut StdRng) -> ConnectorIdentity {
    let channel = CHANNELS[random.random_range(0..CHANNELS.len())];
    identity(channel, random.random_range(0..IDENTITIES))
}

pub(super) fn random_facts(random: &mut StdRng) -> Facts {
    let mut fact = |make: fn(u32) -> String| {
        let number = random.random_range(0..IDENTITIES * 2);
        (number < IDENTITIES).then(|| make(number))
    };
    let (phone, email, username) = (fact(phone), fact(email), fact(badge));
    Facts {
        phone,
        email,
        username,
        verified: Fact::ALL
            .into_iter()
            .filter(|_| random.random_range(0..3) == 0)
            .collect(),
    }
}

/// Random rules over the same fields; rules that no schema may have are left out.
pub(super) fn definition(random: &mut StdRng) -> Definition {
    loop {
        let definition = any_definition(random);
        if definition.clone().normalised().check().is_empty() {
            return definition;
        }
    }
}

fn any_definition(random: &mut StdRng) -> Definition {
    let mut definition = Definition::default();
    definition.fields.extend([
        Field::new("badge", FieldType::String),
        Field::new("score", FieldType::Number),
    ]);
    for field in &mut definition.fields {
        field.unique |= field.name == "email";
    }
    definition.connector_bindings = vec![ConnectorBinding {
        channel: "sms".into(),
        profile_field: "phone".into(),
        source: None,
        required: false,
        label: None,
    }];
    definition.auto_match = random.random();
    for _ in 0..random.random_range(0..5) {
        let field = FIELDS[random.random_range(0..FIELDS.len())];
        let source = match field {
            "phone" => Some(Fact::Phone),
            "email" => Some(Fact::Email),
            "badge" => [None, Some(Fact::Username)][random.random_range(0..2)],
            _ => Some(Fact::Username),
        };
        definition.match_rules.push(MatchRule {
            channel: ["sms", "whatsapp", "web_widget", "line", "*"][random.random_range(0..5)]
                .into(),
            field: field.into(),
            source,
            fallback: random.random_range(0..4) == 0,
        });
    }
    definition
}

/// One random change.
pub(super) async fn change(directory: &Directory, ctx: &Context, random: &mut StdRng) {
    let id = badge(random.random_range(0..CUSTOMERS));
    let channel = CHANNELS[random.random_range(0..CHANNELS.len())].to_owned();
    let sighted = text_of(&channel, random.random_range(0..IDENTITIES));
    let flag: bool = random.random();
    let ended = match random.random_range(0..100) {
        0..40 => {
            let input = random_upsert(&id, random);
            directory.upsert_customer(ctx, input).await.map(|_| ())
        }
        40..55 => link(directory, ctx, &id, &channel, &sighted)
            .await
            .map(|_| ()),
        55..65 => {
            let input = UnlinkInput {
                channel,
                external_user_id: Some(sighted),
                customer_user_id: None,
                clear_profile_field: flag,
            };
            directory.unlink_identity(ctx, input).await.map(|_| ())
        }
        65..82 => {
            let grantee = if random.random_range(0..4) == 0 {
                Grantee::Everybody
            } else {
                Grantee::Customer {
                    customer_user_id: id,
                    external_user_id: Some(sighted),
                }
            };
            let agents = vec![format!("agent {}", random.random_range(0..2))];
            let input = AttachInput {
                grantee,
                channel,
                agents,
                enabled: random.random_range(0..4) > 0,
                expires_at: (random.random_range(0..3) == 0)
                    .then_some(Timestamp(1_767_225_600_000_000)),
            };
            directory.attach_channel_grant(ctx, input).await.map(|_| ())
        }
        82..88 => {
            let grantee = if flag {
                Grantee::Everybody
            } else {
                Grantee::Customer {
                    customer_user_id: id,
                    external_user_id: None,
                }
            };
            let revoked = directory.revoke_channel_grant(ctx, &grantee, &channel);
            revoked.await.map(|_| ())
        }
        88..92 => {
            let switched = directory.set_connector_enabled(ctx, &id, &channel, flag);
            switched.await.map(|_| ())
        }
        92..96 => directory.erase_customer(ctx, &id, false).await.map(|_| ()),
        _ => {
            let input = SchemaInput {
                definition: definition(random),
                expected_version: None,
            };
            directory.upsert_schema(ctx, input).await.map(|_| ())
        }
    };
    match ended {
        Ok(())
        | Err(
            CommandError::NotFound(_)
            | CommandError::IdentityLinkedElsewhere { .. }
            | CommandError::UniqueValueTaken { .. }
            | CommandError::ProfileFieldRequired { .. }
            | CommandError::SchemaInvalid(_)
            | CommandError::Invalid(_)
            | CommandError::VersionConflict { .. }
            | CommandError::PrimaryKeyMismatch,
        ) => {}
        Err(error) => panic!("a command failed: {error}"),
    }
}

fn random_upsert(id: &str, random: &mut StdRng) -> UpsertInput {
    let number = random.random_range(0..IDENTITIES);
    let candidates = [
        ("phone", phone(number)),
        ("email", email(random.random_range(0..IDENTITIES))),
        ("badge", badge(random.random_range(0..IDENTITIES))),
        ("score", badge(random.random_range(0..IDENTITIES))),
        ("full_name", format!("Ada {number}")),
        ("first_name", format!("A. {number}")),
        ("last_name", "Lovelace".to_owned()),
    ];
    let mut input = upsert(id, &[]);
    for (name, text) in candidates {
        match random.random_range(0..10) {
            0..5 => {}
            5..7 => input.profile.push((name.into(), Input::Null)),
            _ => input.profile.push((name.into(), Input::Text(text.into()))),
        }
    }
    input.enabled = [None, Some(true), Some(true), Some(false)][random.random_range(0..4)];
    if random.random_range(0..5) == 0 {
        let channel = CHANNELS[random.random_range(0..CHANNELS.len())].to_owned();
        input.connector_enabled.insert(channel, random.random());
    }
    input
}
