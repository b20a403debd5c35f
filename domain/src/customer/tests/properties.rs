//! What holds for every sequence of commands.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::given::{AT, schema};
use crate::Personal;
use crate::access::{ConnectorIdentity, LinkedBy, Terms};
use crate::customer::{
    ApplySchema, AttachGrant, Customer, CustomerCommand, CustomerEvent, DataSource, SourceKind,
    Tagging, UnlinkIdentity, Upsert, decide,
};
use crate::event::{StoredEvent, from_bytes, to_bytes};
use crate::schema::{ConnectorBinding, Schema};
use crate::stream::{Claim, Stream};
use crate::value::{SmolStr, Value};

static SCHEMAS: LazyLock<[Arc<Schema>; 4]> = LazyLock::new(|| {
    [
        schema(|_| ()),
        schema(|definition| definition.fields[1].unique = true),
        schema(|definition| {
            definition.fields[1].required = true;
            definition.fields[2].unique = true;
            definition.fields[3].unique = true;
        }),
        schema(|definition| {
            definition.connector_bindings.push(ConnectorBinding {
                channel: "sms".into(),
                profile_field: "phone".into(),
                source: None,
                required: false,
                label: None,
            });
        }),
    ]
});

fn any_changes() -> impl Strategy<Value = BTreeMap<SmolStr, Option<Value>>> {
    let name = prop_oneof![
        Just("email"),
        Just("phone"),
        Just("full_name"),
        Just("extra"),
        Just("customer_user_id")
    ];
    let value = prop_oneof![
        Just(None),
        prop_oneof![Just("ada"), Just("a@b.co"), Just("+49301234567"), Just("x")]
            .prop_map(|text| Some(Value::Text(text.into()))),
    ];
    proptest::collection::btree_map(name.prop_map(SmolStr::new), value, 0..5)
}

fn any_tagging() -> impl Strategy<Value = Tagging> {
    let csv = || DataSource {
        kind: SourceKind::Csv,
        ..DataSource::manual()
    };
    prop_oneof![
        Just(Tagging::Keep),
        Just(Tagging::Set(csv())),
        Just(Tagging::Adopt(csv()))
    ]
}

fn any_upsert() -> impl Strategy<Value = Upsert> {
    let switches = proptest::collection::btree_map(
        prop_oneof![Just("sms"), Just("email")],
        any::<bool>(),
        0..2,
    );
    (
        0..4_usize,
        any_changes(),
        any::<bool>(),
        any::<Option<bool>>(),
        switches,
        any_tagging(),
        any::<bool>(),
    )
        .prop_map(
            |(schema, changes, replace, enabled, switches, tagging, pending)| Upsert {
                schema: Arc::clone(&SCHEMAS[schema]),
                pending_unique: if pending {
                    Arc::from(["extra".to_owned()])
                } else {
                    Arc::from([])
                },
                at: AT,
                customer_user_id: "ada".into(),
                changes,
                replace,
                enabled,
                connector_enabled: switches
                    .into_iter()
                    .map(|(channel, on)| (channel.to_owned(), on))
                    .collect(),
                tagging,
                expected_version: None,
                skip_existing: false,
            },
        )
}

fn any_command() -> impl Strategy<Value = CustomerCommand> {
    prop_oneof![
        12 => any_upsert().prop_map(CustomerCommand::Upsert),
        3 => (0..4_usize).prop_map(|schema| {
            CustomerCommand::ApplySchema(ApplySchema { schema: Arc::clone(&SCHEMAS[schema]), at: AT })
        }),
        4 => any_access_command(),
        1 => Just(CustomerCommand::Erase { at: AT }),
    ]
}

fn any_access_command() -> impl Strategy<Value = CustomerCommand> {
    let identity = prop_oneof![
        Just(("sms", "+49301234567")),
        Just(("sms", "+49307654321")),
        Just(("line", "x"))
    ];
    (identity, 0..4_usize, 0..5_u8).prop_map(|((channel, id), schema, what)| {
        let identity = ConnectorIdentity::read(channel, id).expect("an identity");
        let schema = Arc::clone(&SCHEMAS[schema]);
        let naming = |value: Option<&str>| Upsert {
            changes: [(
                schema.bound_field(channel).into(),
                value.map(|text| Value::Text(text.into())),
            )]
            .into(),
            schema: Arc::clone(&schema),
            ..super::given::upsert(&[])
        };
        match what {
            0 => CustomerCommand::LinkIdentity {
                at: AT,
                identity,
                linked_by: LinkedBy::Auto,
            },
            1 | 2 => CustomerCommand::UnlinkIdentity(UnlinkIdentity {
                at: AT,
                identity,
                clear: (what == 2).then(|| naming(None)),
            }),
            3 => CustomerCommand::AttachGrant(AttachGrant {
                upsert: naming(Some(id)),
                identity,
                terms: Terms {
                    agents: vec!["*".into()],
                    enabled: true,
                    expires_at: None,
                },
            }),
            _ => CustomerCommand::RevokeGrants {
                at: AT,
                channel: channel.into(),
            },
        }
    })
}

/// What holds for links, grants and blocks whatever happened.
fn is_in_order(customer: &Customer) -> bool {
    let access = &customer.access;
    access
        .links
        .is_sorted_by(|one, next| one.identity < next.identity)
        && access
            .grants
            .iter()
            .all(|grant| access.link(&grant.identity).is_some())
        && access
            .blocked
            .iter()
            .all(|blocked| access.link(blocked).is_none())
}

/// Folds what a command causes, through the stored bytes.
fn apply(customer: &mut Customer, command: &CustomerCommand) -> usize {
    let Ok(events) = decide(customer, command) else {
        return 0;
    };
    let count = events.len();
    for event in events {
        let stored = event.encode();
        let decoded = CustomerEvent::decode(
            stored.type_no,
            stored.type_version,
            &stored.open,
            stored.personal.as_deref(),
        );
        assert_eq!(decoded.as_ref(), Ok(&event));
        customer.fold(event);
    }
    count
}

fn has_asked_values(customer: &Customer, upsert: &Upsert) -> bool {
    let Personal::Known(profile) = &customer.profile else {
        return false;
    };
    let named = upsert
        .changes
        .iter()
        .filter(|(name, _)| *name != "customer_user_id")
        .all(|(name, value)| profile.get(name) == value.as_ref());
    let others = !upsert.replace
        || profile
            .keys()
            .all(|name| name == "customer_user_id" || upsert.changes.contains_key(name));
    let switches = upsert
        .enabled
        .is_none_or(|enabled| enabled == customer.enabled)
        && upsert.connector_enabled.iter().all(|(channel, on)| {
            customer
                .connector_enabled
                .get(channel)
                .copied()
                .unwrap_or(true)
                == *on
        });
    named
        && others
        && switches
        && profile.get("customer_user_id").map(Value::as_text) == Some("ada")
}

proptest! {
    #[test]
    fn the_folded_events_give_the_asked_values_and_the_claims_follow_them(
        commands in proptest::collection::vec(any_command(), 1..12),
    ) {
        let mut customer = Customer::default();
        for command in commands {
            let accepted = decide(&customer, &command).is_ok();
            let version = customer.version;
            apply(&mut customer, &command);
            if let (true, CustomerCommand::Upsert(upsert)) = (accepted, &command) {
                prop_assert!(has_asked_values(&customer, upsert));
                // The same again changes nothing, and the claims are those of the schemas that the command knew.
                prop_assert_eq!(decide(&customer, &command), Ok(Vec::new()));
                if customer.version > version {
                    let unique: Vec<&str> =
                        upsert.schema.unique_fields().chain(upsert.pending_unique.iter().map(String::as_str)).collect();
                    prop_assert!(customer.claimed.iter().all(|field| unique.contains(&field.as_str())));
                }
            }
            let expected: Vec<Claim> = match (&customer.customer_user_id, &customer.profile) {
                (Personal::Known(id), Personal::Known(profile)) => {
                    prop_assert!(customer.claimed.iter().all(|field| profile.contains_key(field)));
                    let values = customer.claimed.iter().map(|field| Claim::unique_value(field, profile[field].as_text()));
                    let links = customer.access.links.iter().map(|link| link.identity.claim());
                    std::iter::once(Claim::customer_id(id)).chain(values).chain(links).collect()
                }
                _ => Vec::new(),
            };
            prop_assert!(is_in_order(&customer));
            prop_assert_eq!(customer.claims(), expected);
            prop_assert_eq!(from_bytes::<Customer>((0, 0), &to_bytes(&customer)), Ok(customer.clone()));
        }
    }
}
