//! What a connection does, and what a mapping makes of a record.

use cqrs_es::test::TestFramework;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Connection, ConnectionCommand, ConnectionEvent, ConnectionRefusal, Credentials, FieldMapping,
    Mapped, Schedule, Settings, Setup, Transform, apply, at_path, id_text, parse_id,
};
use crate::stream::Stream;
use crate::sync_run::{RunStatus, Trigger};
use crate::value::Input;
use crate::{Personal, Timestamp};

const AT: Timestamp = Timestamp(1_767_225_600_000_000);
const ID: Uuid = Uuid::from_u128(7);
const RUN: Uuid = Uuid::from_u128(8);

fn settings(config: &str) -> Settings {
    Settings {
        name: "CRM".into(),
        provider: "hubspot".into(),
        setup: Personal::new(Setup {
            credentials: Credentials {
                kind: "token".into(),
                parts: [("token".to_owned(), "pat-secret".to_owned())].into(),
            },
            config: config.into(),
            mapping: vec![line("email", "email", None)],
        }),
        delete_guard_pct: 20,
        schedule: Some(Schedule {
            cron: "0 * * * *".into(),
            time_zone: "UTC".into(),
        }),
        enabled: true,
        ..Settings::default()
    }
}

fn line(source: &str, target: &str, transform: Option<Transform>) -> FieldMapping {
    FieldMapping {
        source: source.into(),
        target: target.into(),
        transform,
        default: None,
    }
}

fn save(settings: Settings, expected_version: Option<i32>) -> ConnectionCommand {
    ConnectionCommand::Save {
        at: AT,
        id: ID,
        settings: Box::new(settings),
        expected_version,
    }
}

fn saved(settings: Settings, clears_cursor: bool) -> ConnectionEvent {
    ConnectionEvent::Saved {
        at: AT,
        id: ID,
        settings: Box::new(settings),
        clears_cursor,
    }
}

fn queued() -> ConnectionEvent {
    ConnectionEvent::RunQueued {
        at: AT,
        run_id: RUN,
        trigger: Trigger::Manual,
        is_full: true,
    }
}

fn finished(status: RunStatus, code: Option<&str>) -> ConnectionEvent {
    ConnectionEvent::RunFinished {
        at: AT,
        run_id: RUN,
        status,
        code: code.map(str::to_owned),
        retry_at: None,
        clears_cursor: false,
    }
}

fn connections() -> TestFramework<Connection> {
    TestFramework::with(())
}

fn folded(events: impl IntoIterator<Item = ConnectionEvent>) -> Connection {
    let mut connection = Connection::default();
    for event in events {
        connection.fold(event);
    }
    connection
}

#[test]
fn another_config_or_mapping_clears_the_cursor_and_another_name_does_not() {
    let renamed = Settings {
        name: "Sales".into(),
        ..settings("{}")
    };
    for (next, clears) in [(renamed, false), (settings("{\"a\":1}"), true)] {
        connections()
            .given(vec![saved(settings("{}"), false)])
            .when(save(next.clone(), Some(1)))
            .then_expect_events(vec![saved(next, clears)]);
    }
    let cursor = ConnectionEvent::CursorMoved {
        at: AT,
        cursor: Personal::new("\"c\"".into()),
    };
    let before = folded([saved(settings("{}"), false), cursor.clone()]);
    assert_eq!(before.cursor, Personal::Known(Some("\"c\"".into())));
    let after = folded([
        saved(settings("{}"), false),
        cursor,
        saved(settings("{ }"), true),
    ]);
    assert_eq!(after.cursor, Personal::Known(None));
    assert_eq!(after.version, 2);
}

#[test]
fn the_same_settings_change_nothing_and_an_old_version_is_refused() {
    connections()
        .given(vec![saved(settings("{}"), false)])
        .when(save(settings("{}"), None))
        .then_expect_events(Vec::new());
    connections()
        .given(vec![saved(settings("{}"), false)])
        .when(save(settings("{}"), Some(3)))
        .then_expect_error(ConnectionRefusal::VersionConflict { current: 1 });
    let elsewhere = Settings {
        provider: "zendesk".into(),
        ..settings("{}")
    };
    connections()
        .given(vec![saved(settings("{}"), false)])
        .when(save(elsewhere, None))
        .then_expect_error(ConnectionRefusal::ProviderFixed);
}

#[test]
fn a_connection_that_is_synced_takes_no_second_run() {
    connections()
        .given(vec![saved(settings("{}"), false), queued()])
        .when(ConnectionCommand::NoteQueued {
            at: AT,
            run_id: Uuid::from_u128(9),
            trigger: Trigger::Schedule,
            is_full: false,
        })
        .then_expect_error(ConnectionRefusal::RunInProgress { run_id: RUN });
}

#[test]
fn three_failures_in_a_row_or_a_refused_credential_pause_the_schedule() {
    let mut events = vec![saved(settings("{}"), false)];
    for failures in 1..=3 {
        events.push(queued());
        events.push(finished(RunStatus::Failed, Some("source_unavailable")));
        let connection = folded(events.clone());
        assert_eq!(connection.is_scheduled(), failures < 3, "{failures}");
    }
    let paused = folded(events.clone());
    assert_eq!(paused.paused_reason.as_deref(), Some("failed_three_times"));
    assert_eq!(paused.claims().len(), 1, "the name alone");
    events.push(queued());
    events.push(finished(RunStatus::Succeeded, None));
    assert!(folded(events).is_scheduled());
    let refused = folded([
        saved(settings("{}"), false),
        queued(),
        finished(RunStatus::Failed, Some("auth_failed")),
    ]);
    assert_eq!(refused.paused_reason.as_deref(), Some("auth_failed"));
    let limited = folded([
        saved(settings("{}"), false),
        queued(),
        finished(RunStatus::RateLimited, Some("quota")),
    ]);
    assert_eq!((limited.failures, limited.is_scheduled()), (0, true));
}

#[test]
fn a_deleted_connection_holds_nothing() {
    let deleted = folded([
        saved(settings("{}"), false),
        ConnectionEvent::Deleted { at: AT },
    ]);
    assert!(deleted.is_closed() && deleted.claims().is_empty());
    assert_eq!(deleted.settings, Settings::default());
}

#[test]
fn a_credential_shows_in_no_debug_text_and_no_json() {
    let event = saved(settings("{}"), false);
    let json = serde_json::to_string(&event).expect("an event is JSON");
    for text in [format!("{event:?}"), json] {
        assert!(!text.contains("pat-secret"), "{text}");
    }
}

#[test]
fn a_public_id_names_its_stream() {
    assert_eq!(parse_id(&id_text(ID)), Some(ID));
    assert_eq!(parse_id("dconn_1"), None);
    assert_eq!(parse_id(&ID.to_string()), None);
}

fn record(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => panic!("an object"),
    }
}

#[test]
fn a_path_goes_through_objects_and_lists_and_a_whole_name_comes_first() {
    let record = record(json!({
        "name": {"given": "Ada"},
        "emails": [{"value": "a@x"}, {"value": "b@x"}],
        "name.given": "exact",
        "custom": {"a.b": {"c": 1}},
        "grid": [[1, 2]],
    }));
    for (path, expected) in [
        ("name.given", Some(json!("exact"))),
        ("emails.1.value", Some(json!("b@x"))),
        ("custom.a.b.c", Some(json!(1))),
        ("grid.0.1", Some(json!(2))),
        ("emails.2.value", None),
        ("name.given.first", None),
        ("", None),
    ] {
        assert_eq!(at_path(&record, path), expected.as_ref(), "{path}");
    }
}

#[test]
fn transforms_make_one_spelling_of_many() {
    use Transform::{Boolean, Date, Digits, Join, Lower, Phone, Trim, Upper};
    for (transform, value, expected) in [
        (Trim, json!(" Ada "), Some("Ada")),
        (Lower, json!("ADA@X.org"), Some("ada@x.org")),
        (Upper, json!("de"), Some("DE")),
        (Digits, json!("A-12 3"), Some("123")),
        (Phone, json!("0049 (170) 1234567"), Some("+491701234567")),
        (Phone, json!("call me"), None),
        (Date, json!("2026-03-12T23:04:17.969Z"), Some("2026-03-12")),
        (
            Date,
            json!("2026-05-01T07:25:37.000+0000"),
            Some("2026-05-01"),
        ),
        (Date, json!("31.01.2026"), Some("2026-01-31")),
        (Date, json!("2026-05-15 10:11:04"), Some("2026-05-15")),
        (Date, json!(1_767_225_600), Some("2026-01-01")),
        (Date, json!(1_767_225_600_000_i64), Some("2026-01-01")),
        (Date, json!("soon"), None),
        (Date, json!("31.12.24"), None),
        (Date, json!("24-12-31"), None),
        (Boolean, json!("yes"), Some("true")),
        (Boolean, json!(0), Some("false")),
        (Join, json!(["a", 1]), Some("a, 1")),
        (Lower, json!({"a": 1}), None),
    ] {
        assert_eq!(
            transform.of(&value).as_deref(),
            expected,
            "{transform:?} {value}"
        );
    }
    for transform in Transform::ALL {
        assert_eq!(Transform::from_number(transform.number()), Some(transform));
        assert_eq!(Transform::parse(transform.as_str()), Some(transform));
    }
}

#[test]
fn a_record_without_a_value_takes_the_default_or_clears_the_field() {
    let mapping = [
        FieldMapping {
            default: Some("DE".into()),
            ..line("country", "country", None)
        },
        line("city", "city", None),
        line("mail", "email", Some(Transform::Lower)),
        line("login", "email", None),
        line("born", "born", Some(Transform::Date)),
    ];
    let record = record(json!({"country": " ", "mail": null, "login": "ada@x", "born": "?"}));
    let mapped = |target: &str, input, fault| Mapped {
        target: target.into(),
        input,
        fault,
    };
    assert_eq!(
        apply(&mapping, &record),
        [
            mapped("country", Input::Text("DE".into()), None),
            mapped("city", Input::Null, None),
            mapped("email", Input::Text("ada@x".into()), None),
            mapped("born", Input::Null, Some("date_invalid")),
        ]
    );
}
