//! A database as a source of people: read-only, page by page, cut off where it must be.

use std::collections::BTreeMap;

use reqwest::Url;
use roster_commands::sync::source::{Credentials, Record, Session, Settings, SourceError, Walk};
use roster_connectors::{Outbound, OutboundOptions, all};
use roster_tests::database::Database;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::Executor;

/// A database with so many people, and its settings.
async fn people(count: u32) -> (Database, Settings) {
    let database = Database::create_empty().await.expect("a database");
    let mut connection = database.superuser().await.expect("a connection");
    let fill = format!(
        "CREATE TABLE people (id bigint PRIMARY KEY, mail text, changed timestamptz, tags text[]);
         INSERT INTO people SELECT n, 'p' || n || '@example.org', '2026-03-01Z'::timestamptz + n / 7 * interval '1 h', '{{a}}'
         FROM generate_series(1, {count}) n"
    );
    connection
        .execute(fill.as_str())
        .await
        .expect("the table is made");
    let url = Url::parse(database.owner_url().expose_secret()).expect("a URL");
    let parts = BTreeMap::from([
        ("user".to_owned(), url.username().into()),
        (
            "password".to_owned(),
            url.password().unwrap_or("none").into(),
        ),
    ]);
    let config = json!({
        "host": url.host_str().unwrap_or("127.0.0.1"), "port": url.port().unwrap_or(5432), "database": database.name(),
        "query": "SELECT * FROM people -- of ours", "id_column": "id", "cursor_column": "changed",
    });
    let settings = Settings {
        credentials: Credentials {
            kind: "password".into(),
            parts,
        },
        config: config.as_object().cloned().unwrap_or_default(),
        paths: Vec::new(),
    };
    (database, settings)
}

fn relaxed() -> OutboundOptions {
    OutboundOptions {
        allow: vec!["127.0.0.0/8".into(), "::1".into()],
        allow_http: true,
        ..OutboundOptions::default()
    }
}

fn open(options: OutboundOptions, settings: Settings) -> Box<dyn Session> {
    let outbound = Outbound::new(options).expect("the options are good");
    let sources = all(outbound);
    let source = sources
        .iter()
        .find(|source| source.provider().provider == "postgres")
        .expect("the source is there");
    source.open(settings).expect("the settings are good")
}

/// Everything from a cursor on, and the cursor behind it.
async fn walk(session: &mut dyn Session, since: Option<Value>) -> (Vec<Record>, Option<Value>) {
    let mut walk = Walk {
        since,
        ..Walk::default()
    };
    let mut records = Vec::new();
    loop {
        let page = session.page(&walk).await.expect("a page");
        records.extend(page.records);
        walk.place = page.place;
        if walk.place.is_none() {
            return (records, page.cursor);
        }
    }
}

async fn refused(options: OutboundOptions, settings: Settings) -> SourceError {
    let mut session = open(options, settings);
    let page = session.page(&Walk::default()).await;
    page.expect_err("it is refused")
}

fn with(settings: &Settings, name: &str, value: Value) -> Settings {
    let mut settings = settings.clone();
    settings.config.insert(name.into(), value);
    settings
}

#[tokio::test]
async fn a_table_is_read_whole_and_then_by_its_changes() {
    let (database, settings) = people(2_500).await;
    let mut session = open(relaxed(), settings);
    let (records, cursor) = walk(session.as_mut(), None).await;
    let ids: Vec<u64> = records
        .iter()
        .filter_map(|record| record.id.parse().ok())
        .collect();
    assert_eq!(ids, (1..=2_500).collect::<Vec<u64>>());
    assert_eq!(records[6].fields["mail"], "p7@example.org");
    assert_eq!(records[6].fields["tags"], json!(["a"]));
    let cursor = cursor.expect("a cursor");
    let (idle, same) = walk(session.as_mut(), Some(cursor.clone())).await;
    assert!(
        idle.len() <= 7 && same == Some(cursor.clone()),
        "{} {same:?}",
        idle.len()
    );
    let mut connection = database.superuser().await.expect("a connection");
    // More than a page of rows that share one instant.
    let change = "UPDATE people SET mail = 'x', changed = '2026-09-01Z' WHERE id <= 1500; INSERT INTO people VALUES (9000, 'y', '2026-09-01Z')";
    connection.execute(change).await.expect("rows change");
    let (changed, later) = walk(session.as_mut(), Some(cursor.clone())).await;
    assert_eq!(
        changed
            .iter()
            .filter(|record| record.fields["mail"] == "x")
            .count(),
        1_500
    );
    assert!(changed.iter().any(|record| record.id == "9000"));
    assert!(
        later.as_ref().and_then(Value::as_str) > cursor.as_str(),
        "{later:?}"
    );
}

#[tokio::test]
async fn a_query_can_change_nothing_and_stops_in_time() {
    let (database, settings) = people(10).await;
    let mut connection = database.superuser().await.expect("a connection");
    let delete = "CREATE FUNCTION cleared() RETURNS bigint LANGUAGE sql AS 'DELETE FROM people RETURNING id'";
    connection.execute(delete).await.expect("a function");
    for query in [
        "SELECT cleared() AS id",
        "SELECT 1 AS id) q; DELETE FROM people; --",
        "SELECT 1 AS id) q; COMMIT; DELETE FROM people; --",
        "DELETE FROM people RETURNING id",
    ] {
        let settings = with(
            &with(&settings, "query", json!(query)),
            "cursor_column",
            json!(""),
        );
        let error = refused(relaxed(), settings).await;
        assert!(
            matches!(error, SourceError::Config(_)),
            "{query}: {error:?}"
        );
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM people")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(left, 10);
    let slow = with(
        &settings,
        "query",
        json!("SELECT 1 AS id, now() AS changed FROM pg_sleep(60)"),
    );
    let slow = with(&slow, "statement_timeout_seconds", json!(1));
    assert!(matches!(
        refused(relaxed(), slow).await,
        SourceError::Transient(_)
    ));
}

#[tokio::test]
async fn a_database_is_reached_only_over_tls_at_a_public_address_and_gives_no_more_than_a_page_may_have()
 {
    let (_database, settings) = people(10).await;
    for host in ["127.0.0.1", "localhost", "10.0.0.1", "::1"] {
        let error = refused(
            OutboundOptions::default(),
            with(&settings, "host", json!(host)),
        )
        .await;
        assert!(
            matches!(error, SourceError::Refused(_)),
            "{host}: {error:?}"
        );
    }
    let mut options = relaxed();
    options.allow_http = false;
    let error = refused(options, settings.clone()).await;
    assert!(!matches!(error, SourceError::Config(_)), "{error:?}");
    let mut options = relaxed();
    options.page_bytes = 64 << 10;
    let wide = with(
        &settings,
        "query",
        json!("SELECT id, changed, repeat('x', 1000000) AS wide FROM people"),
    );
    assert!(matches!(
        refused(options, wide).await,
        SourceError::Refused(_)
    ));
    let outbound = Outbound::new(OutboundOptions::default()).expect("the options are good");
    let sources = all(outbound);
    let source = sources
        .iter()
        .find(|source| source.provider().provider == "postgres");
    let socket = with(&settings, "host", json!("/var/run/postgresql"));
    assert!(source.expect("the source").open(socket).is_err());
    let mut wrong = settings.clone();
    wrong
        .credentials
        .parts
        .insert("user".into(), "nobody_of_ours".into());
    assert!(matches!(
        refused(relaxed(), wrong).await,
        SourceError::Unauthorized(_)
    ));
}
