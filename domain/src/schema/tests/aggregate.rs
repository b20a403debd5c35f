//! When a definition takes effect.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use crate::Timestamp;
use crate::schema::{
    Definition, Field, FieldType, PendingStatus, ProjectSchema, SchemaCommand, SchemaEvent,
    SchemaRefusal,
};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);
const JOB: Uuid = Uuid::from_u128(1);
const OTHER_JOB: Uuid = Uuid::from_u128(2);

fn with_field(field: Field) -> Definition {
    let mut definition = Definition::default();
    definition.fields.push(field);
    definition
}

fn city() -> Definition {
    with_field(Field::new("city", FieldType::String))
}

fn unique_email() -> Definition {
    let mut definition = Definition::default();
    definition.fields[1].unique = true;
    definition
}

struct Replace {
    definition: Definition,
    expected_version: Option<i32>,
    has_customers: bool,
    force_ready: bool,
}

impl Replace {
    fn with(definition: Definition) -> Self {
        Self {
            definition,
            expected_version: None,
            has_customers: true,
            force_ready: false,
        }
    }
}

impl From<Replace> for SchemaCommand {
    fn from(replace: Replace) -> Self {
        Self::Replace {
            at: AT,
            definition: replace.definition,
            expected_version: replace.expected_version,
            has_customers: replace.has_customers,
            preparation_id: OTHER_JOB,
            force_ready: replace.force_ready,
        }
    }
}

fn replaced(version: i32, definition: Definition, preparation_id: Option<Uuid>) -> SchemaEvent {
    SchemaEvent::Replaced {
        at: AT,
        version,
        definition,
        preparation_id,
    }
}

fn preparing(preparation_id: Uuid) -> SchemaEvent {
    SchemaEvent::PreparationStarted {
        at: AT,
        preparation_id,
        definition: unique_email(),
        fields: vec!["email".into()],
    }
}

fn ended(ready: bool) -> SchemaEvent {
    SchemaEvent::PreparationEnded {
        at: AT,
        preparation_id: JOB,
        ready,
    }
}

fn voided() -> SchemaEvent {
    SchemaEvent::PreparationVoided {
        at: AT,
        preparation_id: JOB,
        field: "email".into(),
    }
}

fn schemas() -> TestFramework<ProjectSchema> {
    TestFramework::with(())
}

fn folded(events: impl IntoIterator<Item = SchemaEvent>) -> ProjectSchema {
    let mut schema = ProjectSchema::default();
    for event in events {
        schema.fold(event);
    }
    schema
}

#[test]
fn a_project_without_a_schema_has_the_default_one_at_version_0() {
    let schema = ProjectSchema::default();
    assert_eq!(
        (schema.version, schema.updated_at, &schema.pending),
        (0, None, &None)
    );
    assert_eq!(schema.definition, Definition::default());
}

#[test]
fn the_same_definition_again_appends_nothing_even_with_an_old_version() {
    let default = Replace {
        expected_version: Some(9),
        ..Replace::with(Definition::default())
    };
    schemas()
        .given_no_previous_events()
        .when(default.into())
        .then_expect_events(vec![]);
    let spelled = with_field(Field {
        label: Some(" ".into()),
        ..Field::new(" city ", FieldType::String)
    });
    schemas()
        .given(vec![replaced(1, city(), None)])
        .when(Replace::with(spelled).into())
        .then_expect_events(vec![]);
}

#[test]
fn a_new_field_is_free() {
    let events = vec![replaced(1, city(), None)];
    schemas()
        .given_no_previous_events()
        .when(Replace::with(city()).into())
        .then_expect_events(events);
}

#[test]
fn another_version_than_the_expected_one_is_a_conflict() {
    let command = Replace {
        expected_version: Some(0),
        ..Replace::with(unique_email())
    };
    let refused = SchemaRefusal::VersionConflict { current: 1 };
    schemas()
        .given(vec![replaced(1, city(), None)])
        .when(command.into())
        .then_expect_error(refused);
}

#[test]
fn an_invalid_definition_is_refused() {
    let command = Replace::with(with_field(Field::new("enabled", FieldType::String)));
    let result = schemas()
        .given_no_previous_events()
        .when(command.into())
        .inspect_result();
    assert!(matches!(result, Err(SchemaRefusal::Invalid(problems)) if problems.len() == 1));
}

#[test]
fn the_primary_key_is_fixed_once_there_are_customers() {
    let email = Definition {
        primary_key: "email".into(),
        ..Definition::default()
    };
    let command = Replace::with(email.clone());
    schemas()
        .given_no_previous_events()
        .when(command.into())
        .then_expect_error(SchemaRefusal::PrimaryKeyFixed);
    let command = Replace {
        has_customers: false,
        ..Replace::with(email.clone())
    };
    schemas()
        .given_no_previous_events()
        .when(command.into())
        .then_expect_events(vec![replaced(1, email, None)]);
}

#[test]
fn a_field_made_unique_is_prepared_first() {
    let command = Replace::with(unique_email());
    schemas()
        .given_no_previous_events()
        .when(command.into())
        .then_expect_events(vec![preparing(OTHER_JOB)]);
}

#[test]
fn nothing_is_prepared_without_customers_or_when_the_caller_did_it() {
    let command = Replace {
        has_customers: false,
        ..Replace::with(unique_email())
    };
    let events = || vec![replaced(1, unique_email(), None)];
    schemas()
        .given_no_previous_events()
        .when(command.into())
        .then_expect_events(events());
    let command = Replace {
        force_ready: true,
        ..Replace::with(unique_email())
    };
    schemas()
        .given_no_previous_events()
        .when(command.into())
        .then_expect_events(events());
}

#[test]
fn a_running_preparation_of_the_same_definition_is_named() {
    let refused = SchemaRefusal::PreparationRunning {
        preparation_id: JOB,
    };
    schemas()
        .given(vec![preparing(JOB)])
        .when(Replace::with(unique_email()).into())
        .then_expect_error(refused);
}

#[test]
fn a_ready_definition_takes_effect() {
    let given = vec![preparing(JOB), ended(true)];
    let events = vec![replaced(1, unique_email(), Some(JOB))];
    schemas()
        .given(given)
        .when(Replace::with(unique_email()).into())
        .then_expect_events(events);
}

#[test]
fn a_voided_preparation_starts_anew() {
    for given in [
        vec![preparing(JOB), voided()],
        vec![preparing(JOB), ended(true), voided()],
    ] {
        let events = vec![preparing(OTHER_JOB)];
        schemas()
            .given(given)
            .when(Replace::with(unique_email()).into())
            .then_expect_events(events);
    }
}

#[test]
fn another_definition_drops_the_pending_one() {
    let events = vec![replaced(1, city(), None)];
    schemas()
        .given(vec![preparing(JOB)])
        .when(Replace::with(city()).into())
        .then_expect_events(events);
    assert_eq!(
        folded([preparing(JOB), replaced(1, city(), None)]).pending,
        None
    );
}

#[test]
fn only_the_pending_preparation_is_voided_or_ended() {
    let void = |preparation_id| SchemaCommand::VoidPreparation {
        at: AT,
        preparation_id,
        field: "email".into(),
    };
    let end = |preparation_id| SchemaCommand::EndPreparation {
        at: AT,
        preparation_id,
        ready: true,
    };
    schemas()
        .given(vec![preparing(JOB)])
        .when(void(OTHER_JOB))
        .then_expect_events(vec![]);
    schemas()
        .given(vec![preparing(JOB)])
        .when(end(OTHER_JOB))
        .then_expect_events(vec![]);
    schemas()
        .given(vec![preparing(JOB)])
        .when(end(JOB))
        .then_expect_events(vec![ended(true)]);
    schemas()
        .given(vec![preparing(JOB), ended(true)])
        .when(void(JOB))
        .then_expect_events(vec![voided()]);
    schemas()
        .given(vec![preparing(JOB), voided()])
        .when(void(JOB))
        .then_expect_events(vec![]);
    schemas()
        .given(vec![preparing(JOB), voided()])
        .when(end(JOB))
        .then_expect_events(vec![]);
}

#[test]
fn writes_claim_pending_fields_while_the_preparation_lives() {
    assert_eq!(folded([preparing(JOB)]).pending_unique(), ["email"]);
    assert_eq!(
        folded([preparing(JOB), ended(true)]).pending_unique(),
        ["email"]
    );
    assert!(
        folded([preparing(JOB), voided()])
            .pending_unique()
            .is_empty()
    );
    let failed = folded([preparing(JOB), ended(false)]);
    assert_eq!(
        failed.pending.as_ref().map(|pending| pending.status),
        Some(PendingStatus::Voided)
    );
    assert!(failed.pending_unique().is_empty());
}
