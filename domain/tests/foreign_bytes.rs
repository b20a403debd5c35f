//! Whatever bytes and texts come in from outside: they are read or refused, and nothing fails.
//!
//! `PROPTEST_CASES=1000000 cargo test -p roster-domain --release --test foreign_bytes` is the long run.

use proptest::collection::vec;
use proptest::prelude::*;
use roster_domain::access::ConnectorIdentity;
use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::connection::{ConnectionEvent, FieldMapping, Transform, apply, at_path};
use roster_domain::customer::CustomerEvent;
use roster_domain::event::StoredEvent;
use roster_domain::identity::IdentityEvent;
use roster_domain::import::ImportEvent;
use roster_domain::meta::Meta;
use roster_domain::preparation::PreparationEvent;
use roster_domain::purge::PurgeEvent;
use roster_domain::schema::{Definition, Schema, SchemaEvent};
use roster_domain::suppression::SuppressionEvent;
use roster_domain::sync_run::SyncRunEvent;
use roster_domain::value::{Input, boolean, email, fold, identity, number, phone, text};
use serde_json::{Map, Value, json};

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
    /// A length of ten bytes, as large as one can be written.
    Huge(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<prop::sample::Index>(), vec(any::<u8>(), 1..12))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        any::<prop::sample::Index>().prop_map(Damage::Huge),
    ]
}

fn damaged(mut bytes: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    const HUGE: [u8; 9] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for one in all {
        let length = bytes.len();
        match one {
            Damage::Set(at, byte) if length > 0 => bytes[at.index(length)] = *byte,
            Damage::Insert(at, new) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            Damage::Cut(at) => bytes.truncate(at.index(length + 1)),
            Damage::Huge(at) => {
                let at = at.index(length + 1);
                bytes.splice(at..length.min(at + 1), HUGE);
            }
            Damage::Set(..) => {}
        }
    }
    bytes
}

/// Decodes as every type of an aggregate; what it takes can be written again.
fn decode<E: StoredEvent>(open: &[u8], personal: Option<&[u8]>) {
    for known in E::TYPES {
        if let Ok(event) = E::decode(known.type_no, known.type_version, open, personal) {
            let _ = (event.encode(), format!("{event:?}"));
        }
    }
}

fn decode_all(open: &[u8], personal: Option<&[u8]>) {
    decode::<CustomerEvent>(open, personal);
    decode::<SchemaEvent>(open, personal);
    decode::<PreparationEvent>(open, personal);
    decode::<ImportEvent>(open, personal);
    decode::<SuppressionEvent>(open, personal);
    decode::<PurgeEvent>(open, personal);
    decode::<ChannelAccessEvent>(open, personal);
    decode::<IdentityEvent>(open, personal);
    decode::<ConnectionEvent>(open, personal);
    decode::<SyncRunEvent>(open, personal);
}

/// Samples of one aggregate, damaged, as that aggregate reads them.
fn decode_damaged<E: StoredEvent>(which: prop::sample::Index, all: &[Damage]) {
    let samples = E::samples();
    let encoded = samples[which.index(samples.len())].encode();
    let personal = encoded.personal.map(|bytes| damaged(bytes, all));
    decode::<E>(&damaged(encoded.open, all), personal.as_deref());
}

/// Any JSON, in which the words of our own formats come often.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        "\\PC{0,12}",
        ".{0,4}",
        prop::sample::select(vec![
            "",
            "customer_user_id",
            "fields",
            "name",
            "type",
            "email",
            "phone",
            "unique",
            "required",
            "pattern",
            "(a+)+$",
            "[",
            "allowed_values",
            "min_value",
            "max_value",
            "default_region",
            "DE",
            "connector_bindings",
            "channel",
            "profile_field",
            "match_rules",
            "*",
            "source",
            "match_messages",
            "primary_key",
            "number",
            "boolean",
            "string",
            "1e999999999",
            "-0.0",
            "2026-02-30",
            "+49 170 1234567",
            "\u{0}",
            "\u{202e}",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|float| json!(float)),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec((word.clone(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The members of a definition, each right or anything.
fn any_definition() -> impl Strategy<Value = Value> {
    let field = (any_json(), any_json(), any_json(), any_json(), "[a-z]{1,6}").prop_map(
        |(kind, pattern, values, least, name)| {
            json!({"name": name, "type": kind, "pattern": pattern, "allowed_values": values, "min_value": least})
        },
    );
    let texts = (
        "\\PC{0,16}",
        "\\PC{0,24}",
        vec("\\PC{0,6}", 0..4),
        "[a-z_]{1,8}",
    );
    let right = texts.prop_map(|(region, pattern, values, name)| {
        json!({"name": name, "type": "string", "pattern": pattern, "allowed_values": values, "default_region": region})
    });
    (vec(prop_oneof![field, right], 0..6), any_json()).prop_map(|(fields, rules)| {
        let id = json!({"name": "customer_user_id", "required": true, "unique": true});
        let fields: Vec<Value> = [id].into_iter().chain(fields).collect();
        json!({"primary_key": "customer_user_id", "fields": fields, "match_rules": rules})
    })
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(
        open in vec(any::<u8>(), 0..200),
        personal in prop::option::of(vec(any::<u8>(), 0..200)),
    ) {
        decode_all(&open, personal.as_deref());
        let _ = Meta::decode(&open, personal.as_deref());
    }

    #[test]
    fn damaged_events_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        all in vec(damage(), 1..4),
    ) {
        decode_damaged::<CustomerEvent>(which, &all);
        decode_damaged::<SchemaEvent>(which, &all);
        decode_damaged::<PreparationEvent>(which, &all);
        decode_damaged::<ImportEvent>(which, &all);
        decode_damaged::<SuppressionEvent>(which, &all);
        decode_damaged::<PurgeEvent>(which, &all);
        decode_damaged::<ChannelAccessEvent>(which, &all);
        decode_damaged::<IdentityEvent>(which, &all);
        decode_damaged::<ConnectionEvent>(which, &all);
        decode_damaged::<SyncRunEvent>(which, &all);
    }

    #[test]
    fn any_text_is_a_value_or_none(
        given in prop_oneof![".{0,40}", "\\PC{0,40}", "[-+0-9. ()eE/*#;ext]{0,40}"],
        channel in prop_oneof!["\\PC{0,12}", Just("whatsapp".to_owned()), Just("email".to_owned())],
    ) {
        let canonical = [
            phone::international(&given),
            email::canonical(&given),
            number::canonical(&given),
            text::canonical(&given).map(str::to_owned),
        ];
        let again = [phone::international, email::canonical, number::canonical];
        for (value, again) in canonical[..3].iter().zip(again) {
            if let Some(value) = value {
                prop_assert_eq!(again(value), Some(value.clone()), "canonical twice");
            }
        }
        let _ = (boolean::canonical(&given), fold::fold(&given), text::customer_user_id(&given));
        if let Some(known) = identity::canonical(&channel, &given) {
            prop_assert_eq!(identity::canonical(&channel, &known), Some(known.clone()));
            let _ = ConnectorIdentity { channel, external_user_id: known };
        }
    }

    #[test]
    fn any_definition_is_a_schema_or_a_list_of_problems(
        given in prop_oneof![any_json(), any_definition()],
        profile in vec(("[a-z_]{1,8}", any_json()), 0..6),
    ) {
        let Ok(definition) = serde_json::from_value::<Definition>(given) else {
            return Ok(());
        };
        let Ok(schema) = Schema::compile(definition.normalised(), 1) else {
            return Ok(());
        };
        for (name, value) in profile {
            let raw = serde_json::value::to_raw_value(&value).expect("JSON");
            let input = Input::from_json(&raw);
            if let Ok(Some(read)) = schema.read_value(&name, &input) {
                let stored = schema.read_stored(&name, &read);
                prop_assert_eq!(stored.ok().flatten(), Some(read), "what was read is a value of the field");
            }
        }
    }

    #[test]
    fn any_record_is_mapped_in_bounds(
        record in vec(("\\PC{0,6}|a|b", any_json()), 0..6),
        paths in vec("[ab0-9.]{0,10}|\\PC{0,10}|99999999999999999999999", 0..6),
        transform in prop::option::of(prop::sample::select(Transform::ALL.to_vec())),
    ) {
        let record: Map<String, Value> = record.into_iter().collect();
        let mapping: Vec<FieldMapping> = paths
            .iter()
            .map(|path| FieldMapping {
                source: path.clone(),
                target: path.clone(),
                transform,
                default: None,
            })
            .collect();
        for path in &paths {
            let _ = at_path(&record, path);
        }
        prop_assert!(apply(&mapping, &record).len() <= mapping.len());
    }
}
