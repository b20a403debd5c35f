//! Batches against customers in every state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use roster_domain::Timestamp;
use roster_domain::customer::{Customer, DataSource, SourceKind};
use roster_domain::import::{Counts, OnConflict, Severity};
use roster_domain::schema::{Definition, Field, FieldType, Schema};
use roster_domain::stream::{Claim, Stream};
use roster_domain::value::Value;
use uuid::Uuid;

use super::{Meaning, Outcome, Person, Refusal, Rules, Wanted, decide};

fn schema(unique: bool) -> Arc<Schema> {
    let mut definition = Definition::default();
    definition
        .fields
        .retain(|field| field.name == "customer_user_id");
    definition.fields.push(Field {
        unique,
        ..Field::new("email", FieldType::Email)
    });
    definition.fields.push(Field {
        required: true,
        ..Field::new("full_name", FieldType::String)
    });
    Arc::new(Schema::compile(definition, 1).expect("a good schema"))
}

fn rules() -> Rules {
    Rules {
        schema: schema(true),
        pending: None,
        source: DataSource {
            kind: SourceKind::Csv,
            provider: Some("csv_file".into()),
            ..DataSource::manual()
        },
        gone: HashSet::new(),
        on_conflict: OnConflict::Update,
        at: Timestamp(5),
        taken: HashMap::new(),
        asked: HashSet::new(),
    }
}

fn row(id: &str, email: &str, name: &str) -> Meaning {
    let value = |text: &str| (!text.is_empty()).then(|| Value::Text(text.into()));
    let changes = [
        ("email".into(), value(email)),
        ("full_name".into(), value(name)),
    ]
    .into();
    Meaning::Customer(Wanted {
        customer_user_id: id.into(),
        changes,
        enabled: None,
        record_id: None,
        warnings: Vec::new(),
    })
}

/// Decides rows, each of the person at the given place; answers the outcome and the states after it.
fn run(
    rules: &Rules,
    bases: &[Customer],
    suppressed: usize,
    rows: Vec<(usize, Meaning)>,
) -> (Outcome, Vec<Customer>) {
    let mut people: Vec<Person<'_>> = bases
        .iter()
        .enumerate()
        .map(|(place, base)| {
            Person::new(
                Uuid::from_u128(place as u128 + 1),
                base,
                place == suppressed,
            )
        })
        .collect();
    let (places, mut meanings): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .map(|(place, row)| (Some(place), row))
        .unzip();
    let outcome = decide(rules, &mut meanings, &places, &mut people);
    let states = people
        .iter()
        .map(|person| {
            let mut state = person.base.clone();
            person
                .events
                .iter()
                .for_each(|event| state.fold(event.clone()));
            assert_eq!(&state, person.current.as_ref().unwrap_or(person.base));
            state
        })
        .collect();
    (outcome, states)
}

const NOBODY: usize = usize::MAX;

fn registered(id: &str, email: &str, name: &str) -> Customer {
    let (outcome, mut states) = run(
        &rules(),
        &[Customer::default()],
        NOBODY,
        vec![(0, row(id, email, name))],
    );
    assert_eq!(outcome.counts.created, 1);
    states.remove(0)
}

fn codes(outcome: &Outcome) -> Vec<(usize, &str)> {
    outcome
        .findings
        .iter()
        .map(|finding| (finding.index, finding.refusal.code.as_str()))
        .collect()
}

#[test]
fn rows_create_update_and_leave_customers() {
    let bases = [
        Customer::default(),
        registered("b", "b@x.org", "Bea"),
        registered("c", "c@x.org", "Cy"),
    ];
    let rows = vec![
        (0, row("a", "a@x.org", "Ada")),
        (1, row("b", "b@x.org", "Beatrice")),
        (2, row("c", "c@x.org", "Cy")),
    ];
    let (outcome, states) = run(&rules(), &bases, NOBODY, rows);
    assert_eq!(
        outcome.counts,
        Counts {
            created: 1,
            updated: 1,
            unchanged: 1,
            ..Counts::default()
        }
    );
    assert_eq!(states[0].source.kind, SourceKind::Csv);
    assert_eq!(states[1].display_name(), "Beatrice");
    assert_eq!(states[2].version, 1);
}

#[test]
fn rows_that_name_one_customer_apply_in_order() {
    let rows = vec![
        (0, row("a", "a@x.org", "Ada")),
        (0, row("a", "", "Ada L")),
        (0, row("a", "", "Ada L")),
    ];
    let (outcome, states) = run(&rules(), &[Customer::default()], NOBODY, rows);
    assert_eq!(
        outcome.counts,
        Counts {
            created: 1,
            updated: 1,
            unchanged: 1,
            ..Counts::default()
        }
    );
    assert_eq!(states[0].display_name(), "Ada L");
    assert_eq!(states[0].claims(), [Claim::customer_id("a")]);
}

#[test]
fn of_two_rows_with_one_unique_value_the_first_wins() {
    let bases = [Customer::default(), Customer::default()];
    let rows = vec![
        (0, row("a", "a@x.org", "Ada")),
        (1, row("b", "a@x.org", "Bea")),
        (1, row("b", "b@x.org", "Bea")),
    ];
    let (outcome, states) = run(&rules(), &bases, NOBODY, rows);
    assert_eq!(codes(&outcome), [(1, "unique_value_taken")]);
    assert_eq!(outcome.findings[0].refusal.field.as_deref(), Some("email"));
    assert_eq!(
        outcome.counts,
        Counts {
            created: 2,
            failed: 1,
            ..Counts::default()
        }
    );
    assert_eq!(
        states[1].claims()[1],
        Claim::unique_value("email", "b@x.org")
    );
}

#[test]
fn a_value_that_another_customer_has_fails_the_row_unless_it_was_given_up() {
    let bases = [registered("a", "a@x.org", "Ada"), Customer::default()];
    let known = (Claim::unique_value("email", "a@x.org"), Uuid::from_u128(1));
    // Whether it was looked up who has the value makes no difference.
    for taken in [HashMap::new(), HashMap::from([known])] {
        let rules = Rules { taken, ..rules() };
        let (outcome, _) = run(
            &rules,
            &bases,
            NOBODY,
            vec![(1, row("b", "a@x.org", "Bea")), (0, row("a", "", "Ada"))],
        );
        assert_eq!(codes(&outcome), [(0, "unique_value_taken")]);
        let (outcome, states) = run(
            &rules,
            &bases,
            NOBODY,
            vec![(0, row("a", "", "Ada")), (1, row("b", "a@x.org", "Bea"))],
        );
        assert_eq!(
            outcome.counts,
            Counts {
                created: 1,
                updated: 1,
                ..Counts::default()
            }
        );
        assert_eq!(states[1].claims().len(), 2);
    }
}

#[test]
fn a_duplicate_of_a_pending_field_ends_the_preparation_and_not_the_row() {
    let mut rules = rules();
    rules.schema = schema(false);
    rules.pending = Some((schema(true), ["email".to_owned()].into()));
    let bases = [Customer::default(), Customer::default()];
    let rows = || {
        vec![
            (0, row("a", "a@x.org", "Ada")),
            (1, row("b", "a@x.org", "Bea")),
        ]
    };
    let (outcome, _) = run(&rules, &bases, NOBODY, rows());
    assert_eq!(outcome.void.as_deref(), Some("email"));
    rules.pending = None;
    let (outcome, _) = run(&rules, &bases, NOBODY, rows());
    assert_eq!(outcome.counts.created, 2);
}

#[test]
fn suppressed_and_existing_customers_are_skipped() {
    let bases = [Customer::default(), registered("b", "b@x.org", "Bea")];
    let mut rules = rules();
    rules.on_conflict = OnConflict::Skip;
    let rows = vec![
        (0, row("a", "a@x.org", "Ada")),
        (1, row("b", "", "Beatrice")),
        (1, Meaning::Blank),
    ];
    let (outcome, _) = run(&rules, &bases, 0, rows);
    assert_eq!(
        outcome.counts,
        Counts {
            skipped: 3,
            ..Counts::default()
        }
    );
    assert_eq!(outcome.counts.total(), 3);
}

#[test]
fn a_missing_required_value_fails_the_row_and_the_others_go_on() {
    let bases = [
        Customer::default(),
        Customer::default(),
        registered("c", "c@x.org", "Cy"),
    ];
    let rows = vec![
        (0, row("a", "a@x.org", "")),
        (1, row("b", "b@x.org", "Bea")),
        (2, row("c", "c@x.org", "")),
    ];
    let (outcome, _) = run(&rules(), &bases, NOBODY, rows);
    assert_eq!(
        codes(&outcome),
        [(0, "value_required"), (2, "value_required")]
    );
    assert_eq!(
        outcome.counts,
        Counts {
            created: 1,
            failed: 2,
            ..Counts::default()
        }
    );
}

#[test]
fn warnings_are_counted_where_the_row_was_applied() {
    let warned = |id: &str, name: &str| {
        let Meaning::Customer(mut wanted) = row(id, "", name) else {
            panic!("a customer")
        };
        wanted.warnings.push(Refusal::new(
            Some("email"),
            "email_invalid",
            "must be an e-mail address",
        ));
        Meaning::Customer(wanted)
    };
    let bases = [Customer::default(), Customer::default()];
    let (outcome, _) = run(
        &rules(),
        &bases,
        NOBODY,
        vec![(0, warned("a", "Ada")), (1, warned("b", ""))],
    );
    assert_eq!(outcome.warnings, 1);
    let severities: Vec<Severity> = outcome
        .findings
        .iter()
        .map(|finding| finding.severity)
        .collect();
    assert_eq!(severities, [Severity::Warning, Severity::Failed]);
}

#[test]
fn rows_tag_manual_customers_and_leave_other_tags() {
    let mut manual = registered("a", "a@x.org", "Ada");
    manual.source = DataSource::manual();
    let mut scim = registered("b", "b@x.org", "Bea");
    scim.source = DataSource {
        kind: SourceKind::Scim,
        ..DataSource::manual()
    };
    let rows = vec![
        (0, row("a", "a@x.org", "Ada")),
        (1, row("b", "b@x.org", "Bea")),
    ];
    let (outcome, states) = run(&rules(), &[manual, scim], NOBODY, rows);
    assert_eq!(
        outcome.counts,
        Counts {
            updated: 1,
            unchanged: 1,
            ..Counts::default()
        }
    );
    assert_eq!(
        (states[0].source.kind, states[1].source.kind),
        (SourceKind::Csv, SourceKind::Scim)
    );
}
