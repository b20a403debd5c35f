//! Any JSON as the body of a request: read or refused. What is read goes on to the rules that look at it next.

use proptest::collection::vec;
use proptest::prelude::*;
use roster_domain::schema::{Definition, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fields::Values;
use crate::filters::Filters;
use crate::page::{Wanted, cursor, search};

/// Names of members of our bodies, and others.
const NAMES: [&str; 34] = [
    "customer_user_id",
    "profile",
    "enabled",
    "connector_enabled",
    "data_source",
    "replace",
    "expected_version",
    "items",
    "kind",
    "provider",
    "synced_at",
    "search",
    "fields",
    "page",
    "page_size",
    "cursor",
    "enabled_only",
    "updated_since",
    "as_of",
    "schema",
    "primary_key",
    "name",
    "type",
    "channel",
    "external_user_id",
    "agents",
    "expires_at",
    "run_id",
    "agent_alias",
    "endpoint",
    "llm_fields",
    "csv",
    "mapping",
    "other",
];

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,16}",
        prop::sample::select(vec![
            "",
            " ",
            "manual",
            "csv",
            "2026-01-01T00:00:00Z",
            "2026-13-01T00:00:00+25:00",
            "9999999999-01-01T00:00:00Z",
            "+49 170 1234567",
            "\u{0}",
            "\u{feff}",
            "*",
            "update",
            "clear",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from)
        ],
        any::<f64>().prop_map(|float| json!(float)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let name = prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A body of which each member is as it should be or anything.
fn body_of(right: &Value) -> impl Strategy<Value = Value> {
    let members = right.as_object().cloned().unwrap_or_default();
    let count = members.len();
    vec(prop::option::weighted(0.3, any_json()), count).prop_map(move |wrong| {
        let pairs = members.clone().into_iter().zip(wrong);
        Value::Object(
            pairs
                .map(|((name, value), wrong)| (name, wrong.unwrap_or(value)))
                .collect(),
        )
    })
}

/// Reads a body as its text, as it comes in.
fn read<T: DeserializeOwned>(body: &Value) -> Option<T> {
    serde_json::from_str(&body.to_string()).ok()
}

fn upsert() -> Value {
    json!({
        "customer_user_id": "c1", "profile": {"email": "ada@example.org", "score": 7}, "enabled": true,
        "connector_enabled": {"sms": false}, "replace": false, "expected_version": 3,
        "data_source": {"kind": "scim", "provider": "okta", "synced_at": "2026-01-01T00:00:00Z"},
    })
}

proptest! {
    #[test]
    fn any_body_of_an_upsert_is_read_or_refused(body in prop_oneof![any_json(), body_of(&upsert())]) {
        let _ = read::<crate::users::upsert::Request>(&body);
        let _ = read::<crate::users::upsert_bulk::Request>(&json!({"items": [body.clone(), body]}));
    }

    #[test]
    fn any_body_of_a_schema_is_compiled_or_refused(
        body in prop_oneof![
            any_json(),
            body_of(&json!({
                "primary_key": "customer_user_id",
                "fields": [{"name": "customer_user_id", "required": true, "unique": true}, {"name": "email", "type": "email"}],
                "connector_bindings": [{"channel": "sms", "profile_field": "phone"}],
                "match_rules": [{"channel": "*", "field": "email", "source": "email"}],
                "auto_match": true,
            })),
        ],
    ) {
        let _ = read::<crate::schema::upsert::Request>(&body);
        if let Some(definition) = read::<Definition>(&body) {
            let _ = Schema::compile(definition.normalised(), 1);
        }
    }

    #[test]
    fn any_body_of_a_dispatch_or_a_file_is_read_or_refused(
        body in any_json(),
        dispatch in body_of(&json!({
            "channel": "line", "external_user_id": "U1", "run_id": "r", "agent_alias": "a", "endpoint": "e",
            "invoker_fields": {"user": "customer_user_id"}, "llm_fields": {"limit": 5},
        })),
        file in body_of(&json!({"csv": "a\n1\n", "provider": "erp", "delimiter": ";", "on_conflict": "skip", "dry_run": true})),
    ) {
        for body in [&body, &dispatch, &file] {
            let _ = read::<crate::dispatches::Request>(body);
            let _ = read::<crate::users::import_csv::Request>(body);
            let _ = read::<crate::sync::csv_mapped::Request>(body);
            let _ = read::<crate::sync::connections::upsert::Request>(body);
            let _ = read::<crate::users::list::Request>(body);
        }
    }

    #[test]
    fn any_filter_is_made_or_refused(
        texts in vec(prop::option::of(any_text()), 4),
        switches in any::<(Option<bool>, Option<bool>)>(),
        fields in prop::option::of(any_json()),
    ) {
        let schema = Schema::compile(Definition::default(), 1).expect("the default schema");
        let mut texts = texts.into_iter().flatten();
        let given = Filters {
            search: texts.next(),
            enabled_only: switches.0,
            disabled_only: switches.1,
            data_source_kind: texts.next(),
            data_source_provider: texts.next(),
            data_source_connection_id: texts.next(),
            updated_since: None,
            fields: fields.and_then(|fields| read::<Values>(&fields)),
        };
        let _ = given.into_filter(&schema);
    }

    #[test]
    fn any_page_and_cursor_is_taken_or_refused(
        page in any::<Option<u64>>(),
        size in any::<Option<u64>>(),
        text in prop_oneof!["\\PC{0,60}", "[0-9a-f-]{0,40}"],
    ) {
        if let Ok(wanted) = Wanted::new(page, size) {
            prop_assert!(wanted.page > 0 && (1..=200).contains(&wanted.page_size));
        }
        let _ = (cursor(Some(&text)).is_ok(), search(Some(text)).is_ok());
    }
}
