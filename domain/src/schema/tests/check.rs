//! What a definition may not say, and how it travels.

use crate::schema::{
    ConnectorBinding, Definition, Field, FieldType, MatchRule, ProjectSchema, Schema, SchemaEvent,
    sample_definition,
};
use crate::value::number::Decimal;
use crate::{Timestamp, event};

fn kinds(change: impl FnOnce(&mut Definition)) -> Vec<String> {
    let mut definition = Definition::default();
    change(&mut definition);
    match Schema::compile(definition, 1) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|problem| problem.kind).collect(),
    }
}

fn field_kinds(field: Field) -> Vec<String> {
    kinds(|definition| definition.fields.push(field))
}

fn binding(channel: &str, field: &str) -> ConnectorBinding {
    ConnectorBinding {
        channel: channel.into(),
        profile_field: field.into(),
        source: None,
        required: false,
        label: None,
    }
}

fn rule(channel: &str, field: &str) -> MatchRule {
    MatchRule {
        channel: channel.into(),
        field: field.into(),
        source: None,
        fallback: false,
    }
}

#[test]
fn the_default_and_the_sample_are_allowed() {
    assert_eq!(kinds(|_| ()), [""; 0]);
    assert!(Schema::compile(sample_definition(), 3).is_ok());
}

#[test]
fn the_default_has_the_fields_that_clients_expect() {
    let definition = Definition::default();
    let names: Vec<_> = definition
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.field_type))
        .collect();
    assert_eq!(
        names,
        [
            ("customer_user_id", FieldType::String),
            ("email", FieldType::Email),
            ("phone", FieldType::Phone),
            ("full_name", FieldType::String),
        ]
    );
    assert!(definition.fields[0].required && definition.fields[0].unique && definition.auto_match);
}

#[test]
fn names_are_words_and_not_enabled() {
    for name in ["", "1a", "a b", "a-b", "enabled", "é", &"a".repeat(65)] {
        assert_eq!(
            field_kinds(Field::new(name, FieldType::String)),
            ["field_name_invalid"],
            "{name}"
        );
    }
    for name in ["_", "A1_b", &"a".repeat(64)] {
        assert_eq!(
            field_kinds(Field::new(name, FieldType::String)),
            [""; 0],
            "{name}"
        );
    }
}

#[test]
fn names_are_unique() {
    assert_eq!(
        field_kinds(Field::new("email", FieldType::String)),
        ["field_duplicate"]
    );
}

#[test]
fn the_primary_key_is_one_of_the_fields() {
    assert_eq!(
        kinds(|definition| definition.primary_key = "badge".into()),
        ["primary_key_unknown"]
    );
}

#[test]
fn rules_fit_the_type() {
    let base = |field_type| Field::new("f", field_type);
    let allowed = || vec!["a".to_owned()];
    let pattern = || Some("a+".to_owned());
    for field_type in [
        FieldType::Boolean,
        FieldType::Email,
        FieldType::Phone,
        FieldType::Number,
    ] {
        let field = Field {
            allowed_values: allowed(),
            ..base(field_type)
        };
        assert_eq!(field_kinds(field), ["rule_not_applicable"]);
    }
    let boolean = Field {
        pattern: pattern(),
        ..base(FieldType::Boolean)
    };
    assert_eq!(field_kinds(boolean), ["rule_not_applicable"]);
    for field_type in [
        FieldType::String,
        FieldType::Email,
        FieldType::Phone,
        FieldType::Number,
    ] {
        assert_eq!(
            field_kinds(Field {
                pattern: pattern(),
                ..base(field_type)
            }),
            [""; 0]
        );
    }
    let region = Field {
        default_region: Some("de".into()),
        ..base(FieldType::Phone)
    };
    assert_eq!(field_kinds(region), [""; 0]);
    let region = Field {
        default_region: Some("Germany".into()),
        ..base(FieldType::Phone)
    };
    assert_eq!(field_kinds(region), ["region_unknown"]);
}

#[test]
fn patterns_are_linear_and_small() {
    let long = "a".repeat(1_001);
    for pattern in ["(", "a)(b", "(?=a)", r"(a)\1", r"\w{1000}{1000}", &long] {
        let field = Field {
            pattern: Some(pattern.into()),
            ..Field::new("f", FieldType::String)
        };
        assert_eq!(field_kinds(field), ["pattern_invalid"], "{pattern:.20}");
    }
}

#[test]
fn limits_are_in_order() {
    let field = |least: &str, most: &str| Field {
        min_value: Decimal::parse(least),
        max_value: Decimal::parse(most),
        ..Field::new("f", FieldType::Number)
    };
    assert_eq!(field_kinds(field("2", "1")), ["limits_reversed"]);
    assert_eq!(field_kinds(field("-2", "-1")), [""; 0]);
    assert_eq!(field_kinds(field("1", "1.0")), [""; 0]);
}

#[test]
fn at_most_8_fields_are_unique() {
    let unique = |definition: &mut Definition, count: usize| {
        for place in 0..count {
            definition.fields.push(Field {
                unique: true,
                ..Field::new(&format!("u{place}"), FieldType::String)
            });
        }
    };
    assert_eq!(kinds(|definition| unique(definition, 8)), [""; 0]);
    assert_eq!(
        kinds(|definition| unique(definition, 9)),
        ["too_many_unique_fields"]
    );
    let with_rules = |channel: &'static str| {
        kinds(|definition| {
            unique(definition, 7);
            definition.connector_bindings.push(binding("sms", "phone"));
            definition.match_rules.push(rule("sms", "phone"));
            let mut last = rule(channel, "email");
            last.source = Some(crate::channel::Fact::Email);
            definition.match_rules.push(last);
        })
    };
    assert_eq!(with_rules("*"), [""; 0]);
    assert_eq!(with_rules("slack"), ["too_many_unique_fields"]);
    let other_key = kinds(|definition| {
        unique(definition, 8);
        definition.fields[0].unique = false;
        definition.primary_key = "email".into();
    });
    assert_eq!(other_key, ["too_many_unique_fields"]);
}

#[test]
fn channels_are_words_and_a_wildcard_rule_names_its_fact() {
    assert_eq!(
        kinds(|definition| definition.connector_bindings.push(binding("My Fax", "f"))),
        ["channel_invalid"]
    );
    assert_eq!(
        kinds(|definition| definition.connector_bindings.push(binding("*", "f"))),
        ["channel_invalid"]
    );
    assert_eq!(
        kinds(|definition| definition.match_rules.push(rule("*", "email"))),
        ["value_required"]
    );
    assert_eq!(
        kinds(|definition| definition.match_rules.push(rule("SMS", "phone"))),
        [""; 0]
    );
}

#[test]
fn problems_say_where_and_are_bounded() {
    let mut definition = Definition::default();
    definition.fields[2].name = "a b".into();
    let problems = Schema::compile(definition, 1).expect_err("a bad name");
    assert_eq!(problems[0].loc, ["fields", "2", "name"]);
    let many = kinds(|definition| {
        definition
            .fields
            .extend((0..100).map(|_| Field::new("", FieldType::String)));
    });
    assert_eq!(many.len(), 64);
    let too_many = kinds(|definition| {
        definition
            .fields
            .extend((0..600).map(|_| Field::new("", FieldType::String)));
    });
    assert_eq!(too_many, ["too_many_fields"]);
}

#[test]
fn what_get_answers_upsert_takes() {
    for definition in [Definition::default(), sample_definition()] {
        let json = definition.to_json();
        let again: Definition = serde_json::from_str(&json).expect("what was written");
        assert_eq!(again, definition);
        assert_eq!(again.clone().normalised(), again);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert!(serde_json::from_value::<Definition>(value).is_ok());
    }
    assert!(
        sample_definition()
            .to_json()
            .contains(r#""max_value":12345678901234567890.5"#)
    );
}

#[test]
fn little_is_needed_and_unknown_members_are_refused() {
    let short = r#"{"primary_key": "id", "fields": [{"name": "id"}], "match_rules": null}"#;
    let definition: Definition = serde_json::from_str(short).expect("the rest has defaults");
    assert!(definition.auto_match);
    assert_eq!(definition.fields[0], Field::new("id", FieldType::String));
    for json in [
        r#"{"primary_key": "id", "fields": [], "field": []}"#,
        r#"{"primary_key": "id", "fields": [{"name": "id", "uniq": true}]}"#,
        r#"{"primary_key": "id", "fields": [{"name": "id", "type": "text"}]}"#,
        r#"{"fields": []}"#,
    ] {
        assert!(serde_json::from_str::<Definition>(json).is_err(), "{json}");
    }
}

#[test]
fn the_state_survives_a_positional_snapshot() {
    let mut schema = ProjectSchema::default();
    schema.fold(SchemaEvent::Replaced {
        at: Timestamp(1),
        version: 1,
        definition: Definition::default(),
        preparation_id: None,
    });
    schema.fold(SchemaEvent::PreparationStarted {
        at: Timestamp(2),
        preparation_id: uuid::Uuid::from_u128(1),
        definition: sample_definition(),
        fields: vec!["email".into()],
    });
    assert_eq!(
        event::from_bytes::<ProjectSchema>((0, 0), &event::to_bytes(&schema)),
        Ok(schema)
    );
}
