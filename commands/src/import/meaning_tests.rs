//! Rows of every form against a schema with every kind of field.

use csv::StringRecord;
use roster_domain::import::EmptyCells;
use roster_domain::schema::{Definition, Field, FieldType, Schema};
use roster_domain::value::{SmolStr, Value};

use super::{Meaning, Refusal, Wanted, read};
use crate::import::header::{Columns, Names};
use crate::import::rows::{Row, Trouble};

fn schema() -> Schema {
    let mut definition = Definition {
        primary_key: "member_no".into(),
        ..Definition::default()
    };
    definition.fields = vec![
        Field {
            required: true,
            unique: true,
            ..Field::new("member_no", FieldType::String)
        },
        Field {
            required: true,
            ..Field::new("email", FieldType::Email)
        },
        Field {
            default_region: Some("US".into()),
            ..Field::new("phone", FieldType::Phone)
        },
        Field {
            allowed_values: vec!["Gold".into(), "Silver".into()],
            ..Field::new("plan", FieldType::String)
        },
        Field::new("points", FieldType::Number),
    ];
    Schema::compile(definition, 1).expect("a good schema")
}

fn row(cells: &[&str]) -> Row {
    Row {
        number: 2,
        cells: StringRecord::from(cells.to_vec()),
        trouble: None,
    }
}

fn meaning(header: &str, empty_cells: EmptyCells, cells: &[&str]) -> Meaning {
    let schema = schema();
    let columns = Columns::read(header.split(','), &Names::of(&schema)).expect("a good header");
    read(&columns, &schema, empty_cells, &row(cells))
}

fn wanted(header: &str, empty_cells: EmptyCells, cells: &[&str]) -> Wanted {
    match meaning(header, empty_cells, cells) {
        Meaning::Customer(wanted) => wanted,
        Meaning::Blank => panic!("blank"),
        Meaning::Refused(refusal) => panic!("{}", refusal.message),
    }
}

fn refusal(header: &str, cells: &[&str]) -> Refusal {
    match meaning(header, EmptyCells::Clear, cells) {
        Meaning::Refused(refusal) => refusal,
        _ => panic!("not refused"),
    }
}

const ALL: &str = "member_no,email,phone,plan,points,enabled,City";

#[test]
fn values_become_canonical_and_unknown_columns_are_kept() {
    let row = wanted(
        ALL,
        EmptyCells::Clear,
        &[
            " m1 ",
            "Ada@Example.org",
            "202-224-3441",
            "gold",
            "1,000",
            "No",
            " Bonn ",
        ],
    );
    assert_eq!(row.customer_user_id, "m1");
    assert_eq!(row.enabled, Some(false));
    let text = |name: &str| row.changes[name].as_ref().map(Value::as_text);
    assert_eq!(text("member_no"), Some("m1"));
    assert_eq!(text("email"), Some("ada@example.org"));
    assert_eq!(text("phone"), Some("+12022243441"));
    assert_eq!(text("plan"), Some("Gold"));
    assert_eq!(row.changes["points"], Some(Value::Number("1000".into())));
    assert_eq!(text("City"), Some("Bonn"));
    assert_eq!(row.warnings, []);
}

#[test]
fn empty_cells_clear_or_keep_and_missing_columns_leave() {
    let cells = ["m1", "a@b.org", "", " ", "", "", ""];
    let clear = wanted(ALL, EmptyCells::Clear, &cells);
    let names: Vec<&str> = clear.changes.keys().map(SmolStr::as_str).collect();
    assert_eq!(
        names,
        ["City", "email", "member_no", "phone", "plan", "points"]
    );
    assert_eq!(clear.changes["phone"], None);
    assert_eq!(clear.enabled, None);
    let keep = wanted(ALL, EmptyCells::Keep, &cells);
    let names: Vec<&str> = keep.changes.keys().map(SmolStr::as_str).collect();
    assert_eq!(names, ["email", "member_no"]);
    let few = wanted("member_no,email", EmptyCells::Clear, &["m1", "a@b.org"]);
    assert_eq!(few.changes.len(), 2);
}

#[test]
fn an_optional_invalid_value_is_cleared_with_a_warning() {
    let row = wanted(
        ALL,
        EmptyCells::Keep,
        &["m1", "a@b.org", "12", "Bronze", "many", "", ""],
    );
    let codes: Vec<&str> = row
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect();
    assert_eq!(
        codes,
        ["phone_invalid", "value_not_allowed", "number_invalid"]
    );
    for name in ["phone", "plan", "points"] {
        assert_eq!(row.changes[name], None, "{name}");
    }
}

#[test]
fn what_is_required_must_be_valid() {
    assert_eq!(
        refusal(ALL, &["m1", "nobody", "", "", "", "", ""]).code,
        "email_invalid"
    );
    let enabled = refusal(ALL, &["m1", "a@b.org", "", "", "", "perhaps", ""]);
    assert_eq!(
        (enabled.field.as_deref(), enabled.code.as_str()),
        (Some("enabled"), "boolean_invalid")
    );
    let nobody = refusal(ALL, &[" ", "a@b.org", "", "", "", "", ""]);
    assert_eq!(
        (nobody.field.as_deref(), nobody.code.as_str()),
        (Some("member_no"), "value_required")
    );
    let long = "x".repeat(300);
    assert_eq!(
        refusal("member_no", &[&long]).field.as_deref(),
        Some("member_no")
    );
}

#[test]
fn messages_never_repeat_a_cell() {
    let refusal = refusal(ALL, &["m1", "ada-at-example", "", "", "", "", ""]);
    assert!(!refusal.message.contains("ada"), "{}", refusal.message);
}

#[test]
fn the_id_column_goes_before_the_primary_key() {
    let row = wanted(
        "member_no,customer_user_id,email",
        EmptyCells::Clear,
        &["", "m7", "a@b.org"],
    );
    assert_eq!(row.customer_user_id, "m7");
    assert!(!row.changes.contains_key("member_no"));
    let both = wanted(
        "member_no,customer_user_id,email",
        EmptyCells::Clear,
        &["m8", "m7", "a@b.org"],
    );
    assert_eq!(both.customer_user_id, "m7");
    assert_eq!(both.changes["member_no"], Some(Value::Text("m8".into())));
}

#[test]
fn blank_rows_ask_for_nothing() {
    assert!(matches!(
        meaning(ALL, EmptyCells::Clear, &["", " ", "", "\t", "", "", ""]),
        Meaning::Blank
    ));
}

#[test]
fn rows_of_bad_form_are_refused_with_their_line() {
    let schema = schema();
    let columns =
        Columns::read(["member_no", "email"], &Names::of(&schema)).expect("a good header");
    for (trouble, code) in [
        (
            Trouble::Ragged {
                line: 17,
                cells: 3,
                columns: 2,
            },
            "ragged_row",
        ),
        (Trouble::OpenQuote { line: 17 }, "open_quote"),
    ] {
        let row = Row {
            trouble: Some(trouble),
            ..row(&["m1", "a@b.org"])
        };
        let Meaning::Refused(refusal) = read(&columns, &schema, EmptyCells::Clear, &row) else {
            panic!("applied")
        };
        assert_eq!(refusal.code, code);
        assert!(refusal.message.contains("line 17"));
    }
}
