//! How values are read.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::schema::{Definition, Field, FieldType, MatchRule, Schema, sample_definition};
use crate::value::number::Decimal;
use crate::value::{Input, Profile, Value};

fn schema_of(fields: impl IntoIterator<Item = Field>) -> Schema {
    let mut definition = Definition::default();
    definition.fields.extend(fields);
    Schema::compile(definition, 1).expect("a valid schema")
}

fn text(value: &str) -> Input {
    Input::Text(value.into())
}

fn stored(value: &str) -> Value {
    Value::Text(value.into())
}

fn kind(schema: &Schema, field: &str, input: &Input) -> String {
    let problem = schema.read_value(field, input).expect_err("refused");
    assert_eq!(problem.loc, ["profile", field]);
    problem.kind
}

#[test]
fn each_type_has_its_canonical_form() {
    let schema = schema_of([
        Field::new("points", FieldType::Number),
        Field::new("vip", FieldType::Boolean),
        Field {
            default_region: Some("DE".into()),
            ..Field::new("mobile", FieldType::Phone)
        },
    ]);
    for (field, input, expected) in [
        (
            "email",
            text(" Ada@Example.ORG "),
            stored("ada@example.org"),
        ),
        ("phone", text("0049 170 1234567"), stored("+491701234567")),
        (
            "phone",
            Input::Number("491701234567".into()),
            stored("+491701234567"),
        ),
        ("mobile", text("0170 1234567"), stored("+491701234567")),
        ("full_name", text(" Ada  L. "), stored("Ada  L.")),
        ("full_name", Input::Number("1.50".into()), stored("1.50")),
        ("full_name", Input::Bool(true), stored("true")),
        ("points", text("1,234.50"), Value::Number("1234.5".into())),
        (
            "points",
            Input::Number("-0".into()),
            Value::Number("0".into()),
        ),
        ("vip", text("Yes"), Value::Bool(true)),
        ("vip", Input::Number("0".into()), Value::Bool(false)),
        ("vip", Input::Bool(true), Value::Bool(true)),
        (
            "extra",
            Input::Number("1e2".into()),
            Value::Number("100".into()),
        ),
        ("Extra name", text(" x "), stored("x")),
        ("extra", Input::Bool(false), Value::Bool(false)),
    ] {
        assert_eq!(
            schema.read_value(field, &input),
            Ok(Some(expected)),
            "{field}"
        );
    }
}

#[test]
fn empty_means_absent() {
    let schema = schema_of([Field::new("vip", FieldType::Boolean)]);
    for field in ["email", "phone", "full_name", "vip", "extra"] {
        for input in [Input::Null, text(""), text(" \t")] {
            assert_eq!(schema.read_value(field, &input), Ok(None), "{field}");
        }
    }
}

#[test]
fn what_a_type_cannot_read_is_refused() {
    let schema = schema_of([
        Field::new("points", FieldType::Number),
        Field::new("vip", FieldType::Boolean),
    ]);
    assert_eq!(kind(&schema, "email", &text("ada")), "email_invalid");
    assert_eq!(kind(&schema, "email", &Input::Bool(true)), "value_type");
    assert_eq!(kind(&schema, "phone", &text("12")), "phone_invalid");
    assert_eq!(kind(&schema, "points", &text("many")), "number_invalid");
    assert_eq!(kind(&schema, "vip", &text("perhaps")), "boolean_invalid");
    assert_eq!(kind(&schema, "full_name", &Input::Nested), "value_type");
    assert_eq!(kind(&schema, "extra", &Input::Nested), "value_type");
    assert_eq!(kind(&schema, "full_name", &text("a\0b")), "text_nul");
    assert_eq!(kind(&schema, "extra", &text("a\0b")), "text_nul");
    assert_eq!(
        kind(&schema, "extra", &text(&"x".repeat(4_097))),
        "text_too_long"
    );
}

#[test]
fn names_outside_the_schema_are_bounded_and_not_reserved() {
    let schema = schema_of([]);
    for name in ["", " a", "a\0", "a\nb", &"a".repeat(129)] {
        assert_eq!(
            kind(&schema, name, &Input::Null),
            "field_name_invalid",
            "{name:?}"
        );
    }
    assert_eq!(
        kind(&schema, "enabled", &Input::Bool(true)),
        "field_name_reserved"
    );
    assert!(
        schema
            .read_value(&"ä".repeat(128), &Input::Bool(true))
            .is_ok()
    );
}

#[test]
fn allowed_values_match_without_case_and_keep_their_spelling() {
    let plan = Field {
        allowed_values: vec!["Gold".into(), "Früh".into()],
        ..Field::new("plan", FieldType::String)
    };
    let schema = schema_of([plan]);
    assert_eq!(
        schema.read_value("plan", &text(" gOLD ")),
        Ok(Some(stored("Gold")))
    );
    assert_eq!(
        schema.read_value("plan", &text("FRÜH")),
        Ok(Some(stored("Früh")))
    );
    assert_eq!(kind(&schema, "plan", &text("bronze")), "value_not_allowed");
}

#[test]
fn a_pattern_matches_the_whole_value() {
    let code = Field {
        pattern: Some("[a-z]+|[0-9]+".into()),
        ..Field::new("code", FieldType::String)
    };
    let schema = schema_of([code]);
    assert!(schema.read_value("code", &text("abc")).is_ok());
    assert!(schema.read_value("code", &text("123")).is_ok());
    assert_eq!(kind(&schema, "code", &text("abc123")), "pattern_mismatch");
    assert_eq!(kind(&schema, "code", &text("abc\ndef")), "pattern_mismatch");
}

#[test]
fn numbers_stay_within_their_limits() {
    let points = Field {
        min_value: Decimal::parse("-1.5"),
        max_value: Decimal::parse("10"),
        ..Field::new("points", FieldType::Number)
    };
    let schema = schema_of([points]);
    for inside in ["-1.5", "0", "10.000"] {
        assert!(
            schema.read_value("points", &text(inside)).is_ok(),
            "{inside}"
        );
    }
    assert_eq!(kind(&schema, "points", &text("-1.51")), "value_too_small");
    assert_eq!(kind(&schema, "points", &text("10.0001")), "value_too_large");
}

#[test]
fn a_profile_is_read_whole_and_every_problem_is_named() {
    let schema = schema_of([]);
    let inputs = |email: &str| {
        [
            ("email".into(), text(email)),
            ("phone".into(), Input::Null),
            ("enabled".into(), Input::Null),
        ]
    };
    let good = schema
        .read_profile(inputs("a@b.co").into_iter().take(2))
        .expect("valid");
    assert_eq!(good["email"], Some(stored("a@b.co")));
    assert_eq!(good["phone"], None);
    let problems = schema
        .read_profile(inputs("ada"))
        .expect_err("two problems");
    let kinds: Vec<_> = problems
        .iter()
        .map(|problem| problem.kind.as_str())
        .collect();
    assert_eq!(kinds, ["email_invalid", "field_name_reserved"]);
}

#[test]
fn an_id_is_spelled_as_the_primary_key_but_not_held_against_its_rules() {
    let schema = |field: Field| {
        let mut definition = Definition {
            primary_key: field.name.clone(),
            ..Definition::default()
        };
        definition.fields.push(field);
        Schema::compile(definition, 1).expect("a valid schema")
    };
    let mail = schema(Field::new("mail", FieldType::Email));
    assert_eq!(mail.canonical_id(" Ada@B.co ").as_deref(), Ok("ada@b.co"));
    let problem = mail.canonical_id("ada").expect_err("no address");
    assert_eq!(
        (problem.loc, problem.kind.as_str()),
        (vec!["customer_user_id".to_owned()], "email_invalid")
    );
    let mobile = schema(Field {
        default_region: Some("DE".into()),
        ..Field::new("mobile", FieldType::Phone)
    });
    assert_eq!(
        mobile.canonical_id("0170 1234567").as_deref(),
        Ok("+491701234567")
    );
    let number = schema(Field::new("number", FieldType::Number));
    assert_eq!(number.canonical_id("007").as_deref(), Ok("7"));
    let code = schema(Field {
        pattern: Some("[0-9]+".into()),
        ..Field::new("code", FieldType::String)
    });
    assert_eq!(code.canonical_id(" Ada ").as_deref(), Ok("Ada"));
    let plan = schema(Field {
        allowed_values: vec!["Gold".into()],
        ..Field::new("plan", FieldType::String)
    });
    assert_eq!(plan.canonical_id("GOLD").as_deref(), Ok("Gold"));
    assert_eq!(plan.canonical_id("tin").as_deref(), Ok("tin"));
    assert!(code.canonical_id(" ").is_err());
    assert!(code.canonical_id("a\nb").is_err());
}

#[test]
fn a_profile_is_valid_when_it_is_what_the_schema_would_keep() {
    let schema = schema_of([Field {
        required: true,
        ..Field::new("city", FieldType::String)
    }]);
    let profile = |entries: &[(&str, &str)]| -> Profile {
        entries
            .iter()
            .map(|(name, value)| ((*name).into(), stored(value)))
            .collect()
    };
    assert!(schema.profile_valid(&profile(&[
        ("customer_user_id", "1"),
        ("city", "Rome"),
        ("extra", "x")
    ])));
    assert!(!schema.profile_valid(&profile(&[("customer_user_id", "1")])));
    assert!(!schema.profile_valid(&profile(&[
        ("customer_user_id", "1"),
        ("city", "Rome"),
        ("email", "ada")
    ])));
    assert!(!schema.profile_valid(&profile(&[
        ("customer_user_id", "1"),
        ("city", "Rome"),
        ("email", "A@B.co")
    ])));
}

#[test]
fn profiles_are_bounded() {
    let schema = schema_of([]);
    let extra = |count: usize| -> Profile {
        (0..count)
            .map(|place| (format!("x{place}").into(), Value::Bool(true)))
            .chain([("email".into(), stored("a@b.co"))])
            .collect()
    };
    assert!(schema.check_profile_size(&extra(64)).is_empty());
    assert_eq!(
        schema.check_profile_size(&extra(65))[0].kind,
        "too_many_fields"
    );
    let sized =
        |bytes: usize| -> Profile { [("full_name".into(), stored(&"x".repeat(bytes)))].into() };
    // {"full_name":"…"} is 16 bytes around the value.
    assert!(schema.check_profile_size(&sized(65_536 - 16)).is_empty());
    assert_eq!(
        schema.check_profile_size(&sized(65_536 - 15))[0].kind,
        "profile_too_large"
    );
}

#[test]
fn the_lists_of_fields_leave_the_id_out() {
    let mut definition = sample_definition();
    definition.fields[1].required = true;
    definition.match_rules.push(MatchRule {
        channel: "sms".into(),
        field: "customer_user_id".into(),
        source: None,
        fallback: false,
    });
    let schema = Schema::compile(definition, 4).expect("a valid schema");
    assert_eq!(schema.version(), 4);
    assert_eq!(schema.required_fields().collect::<Vec<_>>(), ["email"]);
    assert_eq!(schema.unique_fields().collect::<Vec<_>>(), ["email"]);
    assert_eq!(
        schema.indexed_fields().collect::<Vec<_>>(),
        ["email", "phone"]
    );
    assert!(schema.is_phone("phone") && !schema.is_phone("email") && !schema.is_phone("mobile"));
}

#[test]
fn channels_come_from_the_catalogue_or_the_schema() {
    let mut definition = sample_definition();
    definition.match_rules.push(MatchRule {
        channel: "Pager".into(),
        field: "code".into(),
        source: Some(crate::channel::Fact::ExternalUserId),
        fallback: false,
    });
    let schema = Schema::compile(definition, 1).expect("a valid schema");
    assert_eq!(schema.channel(" PAGER").as_deref(), Ok("pager"));
    assert_eq!(schema.channel("Slack").as_deref(), Ok("slack"));
    assert_eq!(
        schema.channel("fax").expect_err("unknown").kind,
        "channel_unknown"
    );
    assert_eq!(
        schema.channel("*").expect_err("no channel").kind,
        "channel_unknown"
    );
    assert_eq!(schema.bound_field("whatsapp"), "phone");
    assert_eq!(schema.bound_field("pager"), "code");
    assert_eq!(schema.bound_field("slack"), "slack_primary_key");
}

#[test]
fn a_pending_schema_respells_what_it_can_read() {
    let mut definition = Definition::default();
    definition.fields[3] = Field {
        unique: true,
        ..Field::new("full_name", FieldType::Email)
    };
    let pending = Schema::compile(definition, 2).expect("a valid schema");
    let mut changes = [
        ("full_name".into(), Some(stored("A@B.co"))),
        ("phone".into(), None),
    ]
    .into();
    pending.respell(&mut changes);
    assert_eq!(changes["full_name"], Some(stored("a@b.co")));
    let mut unreadable = [("full_name".into(), Some(stored("Ada")))].into();
    pending.respell(&mut unreadable);
    assert_eq!(unreadable["full_name"], Some(stored("Ada")));
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(Input::Null),
        Just(Input::Nested),
        any::<bool>().prop_map(Input::Bool),
        r"-?[0-9]{1,12}(\.[0-9]{1,6})?".prop_map(|text| Input::Number(text.into())),
        any::<String>().prop_map(|text| Input::Text(text.into())),
        r" ?[+0-9a-zA-Z@. ]{0,16}".prop_map(|text| Input::Text(text.into())),
        r"(?i)gold|yes|no|silver|de[0-9]+|a@b\.co".prop_map(|text| Input::Text(text.into())),
    ]
}

proptest! {
    #[test]
    fn reading_what_was_read_changes_nothing(place in 0..9_usize, input in any_input()) {
        static SCHEMA: LazyLock<Schema> =
            LazyLock::new(|| Schema::compile(sample_definition(), 1).expect("a valid schema"));
        let schema = &SCHEMA;
        let names = ["customer_user_id", "email", "phone", "full_name", "points", "plan", "code", "vip", "extra"];
        if let Ok(Some(value)) = schema.read_value(names[place], &input) {
            prop_assert_eq!(schema.read_stored(names[place], &value), Ok(Some(value)));
        }
    }

    #[test]
    fn the_canonical_id_of_an_id_is_itself(text in any::<String>(), place in 0..8_usize) {
        static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
            let sample = sample_definition();
            let keys = sample.fields.iter().filter(|field| field.field_type != FieldType::Boolean);
            keys.map(|field| Definition { primary_key: field.name.clone(), ..sample.clone() })
                .map(|definition| Schema::compile(definition, 1).expect("a valid schema"))
                .collect()
        });
        let schema = &SCHEMAS[place % SCHEMAS.len()];
        if let Ok(id) = schema.canonical_id(&text) {
            prop_assert_eq!(schema.canonical_id(&id), Ok(id));
        }
    }
}
