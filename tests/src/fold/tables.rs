//! Every column of the read tables, stored and as the folded log has it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::customer::Customer;
use roster_domain::schema::{Definition, ProjectSchema};
use roster_domain::value::fold::{digits, fold};
use roster_domain::value::{Value, profile_json};
use roster_store::Project;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::log::{Folded, Log, source_of};

/// One row of `view_customers`, every column.
#[derive(Debug, PartialEq)]
struct CustomerColumns {
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    bucket: i64,
    position: i64,
    project_no: i32,
    version: i32,
    source_kind: i16,
    enabled: bool,
    customer_user_id: String,
    display_name: String,
    profile: String,
    connector_enabled: BTreeMap<String, bool>,
    source_provider: String,
    source_connection: String,
    source_external_id: Option<String>,
    source_synced_at: Option<DateTime<Utc>>,
}

pub(super) async fn check_customers(connection: &mut PgConnection, project: &Project, log: &Log) {
    let rows = sqlx::query("SELECT *, profile::text AS profile_text FROM view_customers")
        .fetch_all(connection)
        .await
        .expect("rows");
    let stored: HashMap<Uuid, CustomerColumns> = rows
        .iter()
        .map(|row| {
            let sqlx::types::Json(connector_enabled) = row.get("connector_enabled");
            let columns = CustomerColumns {
                created_at: row.get("created_at"),
                updated_at: row.get("updated_at"),
                bucket: row.get("bucket"),
                position: row.get("position"),
                project_no: row.get("project_no"),
                version: row.get("version"),
                source_kind: row.get("source_kind"),
                enabled: row.get("enabled"),
                customer_user_id: row.get("customer_user_id"),
                display_name: row.get("display_name"),
                profile: row.get("profile_text"),
                connector_enabled,
                source_provider: row.get("source_provider"),
                source_connection: row.get("source_connection"),
                source_external_id: row.get("source_external_id"),
                source_synced_at: row.get("source_synced_at"),
            };
            (row.get("stream_id"), columns)
        })
        .collect();
    let expected: HashMap<Uuid, CustomerColumns> = log
        .active()
        .map(|(stream, folded)| {
            let customer = &folded.customer;
            let (source_kind, source_provider, source_connection) = source_of(customer);
            let columns = CustomerColumns {
                created_at: customer.created_at.to_utc(),
                updated_at: customer.updated_at.to_utc(),
                bucket: bucket(project, customer),
                position: folded.position,
                project_no: project.no,
                version: customer.version,
                source_kind,
                enabled: customer.enabled,
                customer_user_id: customer
                    .customer_user_id
                    .known()
                    .cloned()
                    .unwrap_or_default(),
                display_name: customer.display_name(),
                profile: profile_json(
                    customer
                        .profile
                        .known()
                        .expect("an active customer is known"),
                ),
                connector_enabled: customer.connector_enabled.clone(),
                source_provider,
                source_connection,
                source_external_id: customer.source.external_id.known().cloned().flatten(),
                source_synced_at: customer.source.synced_at.map(Timestamp::to_utc),
            };
            (*stream, columns)
        })
        .collect();
    assert_same("view_customers", &stored, &expected);
}

/// Compares row by row, so that a failure names a row and not thousands.
fn assert_same<T: PartialEq + std::fmt::Debug>(
    table: &str,
    stored: &HashMap<Uuid, T>,
    expected: &HashMap<Uuid, T>,
) {
    for (stream, row) in stored {
        assert_eq!(Some(row), expected.get(stream), "{table}, {stream}");
    }
    for stream in expected.keys() {
        assert!(stored.contains_key(stream), "{table} lacks {stream}");
    }
}

fn first_eight(hash: Sha256) -> i64 {
    let digest = hash.finalize();
    i64::from_be_bytes(digest[..8].try_into().expect("eight bytes"))
}

fn bucket(project: &Project, customer: &Customer) -> i64 {
    let (kind, provider, connection) = source_of(customer);
    let hash = Sha256::new()
        .chain_update(project.no.to_be_bytes())
        .chain_update(kind.to_be_bytes())
        .chain_update(provider)
        .chain_update([0])
        .chain_update(connection);
    (first_eight(hash) & !1) | i64::from(customer.enabled)
}

/// One row of `view_customer_search`, every column.
#[derive(Debug, PartialEq)]
struct SearchColumns {
    position: i64,
    project_no: i32,
    customer_user_id: String,
    id_start: String,
    name_start: String,
    exact: BTreeSet<i64>,
    haystack: BTreeSet<String>,
}

pub(super) async fn check_search(connection: &mut PgConnection, project: &Project, log: &Log) {
    let rows = sqlx::query("SELECT * FROM view_customer_search")
        .fetch_all(connection)
        .await
        .expect("rows");
    let stored: HashMap<Uuid, SearchColumns> = rows
        .iter()
        .map(|row| {
            let columns = SearchColumns {
                position: row.get("position"),
                project_no: row.get("project_no"),
                customer_user_id: row.get("customer_user_id"),
                id_start: row.get("id_start"),
                name_start: row.get("name_start"),
                exact: row.get::<Vec<i64>, _>("exact").into_iter().collect(),
                haystack: row
                    .get::<String, _>("haystack")
                    .lines()
                    .map(str::to_owned)
                    .collect(),
            };
            (row.get("stream_id"), columns)
        })
        .collect();
    let expected: HashMap<Uuid, SearchColumns> = log
        .active()
        .map(|(stream, folded)| {
            let customer = &folded.customer;
            let id = customer
                .customer_user_id
                .known()
                .cloned()
                .unwrap_or_default();
            let profile = customer
                .profile
                .known()
                .expect("an active customer is known");
            let mut haystack = BTreeSet::from([fold(&id)]);
            for (name, value) in profile {
                if !matches!(value, Value::Bool(_)) {
                    haystack.insert(fold(value.as_text()));
                }
                if name == "phone" {
                    haystack.insert(digits(value.as_text()));
                }
            }
            let start = |text: &str| {
                let first: String = fold(text).chars().take(2).collect();
                format!("{:08x}{first}", project.no)
            };
            let exact = profile.iter().map(|(name, value)| {
                let hash = Sha256::new()
                    .chain_update(project.no.to_be_bytes())
                    .chain_update(name);
                first_eight(hash.chain_update([0]).chain_update(value.as_text()))
            });
            let columns = SearchColumns {
                position: folded.position,
                project_no: project.no,
                id_start: start(&id),
                name_start: start(&customer.display_name()),
                exact: exact.collect(),
                haystack,
                customer_user_id: id,
            };
            (*stream, columns)
        })
        .collect();
    assert_same("view_customer_search", &stored, &expected);
}

pub(super) async fn check_data_sources(
    connection: &mut PgConnection,
    project: &Project,
    log: &Log,
    head: i64,
) {
    let mut expected: BTreeMap<(i16, String, String), (i64, i64, Timestamp)> = BTreeMap::new();
    for (_, Folded { customer, .. }) in log.active() {
        let (count, enabled, newest) = expected.entry(source_of(customer)).or_default();
        *count += 1;
        *enabled += i64::from(customer.enabled);
        *newest = customer.updated_at.max(*newest);
    }
    let rows = sqlx::query("SELECT * FROM view_data_sources")
        .fetch_all(connection)
        .await
        .expect("rows");
    let mut stored = BTreeMap::new();
    for row in &rows {
        assert_eq!(row.get::<i32, _>("project_no"), project.no);
        assert!(row.get::<i64, _>("position") <= head);
        let source: (i16, String, String) = (
            row.get("source_kind"),
            row.get("source_provider"),
            row.get("source_connection"),
        );
        let (count, enabled): (i64, i64) = (row.get("count"), row.get("enabled_count"));
        if count == 0 {
            assert_eq!(enabled, 0, "{source:?}");
            continue;
        }
        // A row that was erased since may have been the last one that was written; how soon it was is not in the log.
        let at = Timestamp::from(row.get::<DateTime<Utc>, _>("last_upserted_at"));
        let earliest = expected.get(&source).map(|(.., newest)| *newest);
        assert!(
            earliest <= Some(at) && Some(&at) <= log.written.get(&source),
            "{source:?} was written at {at}"
        );
        stored.insert(source, (count, enabled));
    }
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(source, (count, enabled, _))| (source, (count, enabled)))
        .collect();
    assert_eq!(stored, expected, "view_data_sources");
}

pub(super) async fn check_small_tables(
    connection: &mut PgConnection,
    log: &Log,
    schema: &ProjectSchema,
) {
    let stored: HashSet<Uuid> = sqlx::query_scalar("SELECT stream_id FROM view_suppressions")
        .fetch_all(&mut *connection)
        .await
        .expect("rows")
        .into_iter()
        .collect();
    let expected = log
        .suppressions
        .iter()
        .filter(|(_, suppression)| suppression.is_added())
        .map(|(stream, _)| *stream);
    assert_eq!(stored, expected.collect(), "view_suppressions");
    let (version, definition): (i32, String) =
        sqlx::query_as("SELECT version, definition::text FROM view_schemas")
            .fetch_one(connection)
            .await
            .expect("one row");
    let definition: Definition = serde_json::from_str(&definition).expect("a definition");
    assert_eq!(
        (version, &definition),
        (schema.version, &schema.definition),
        "view_schemas"
    );
}

pub(super) async fn check_purges(connection: &mut PgConnection, project: &Project, log: &Log) {
    let rows = sqlx::query("SELECT * FROM view_purges")
        .fetch_all(&mut *connection)
        .await
        .expect("rows");
    let time = |row: &PgRow, column| {
        let time: Option<DateTime<Utc>> = row.get(column);
        time.map(Timestamp::from)
    };
    for row in &rows {
        let id: Uuid = row.get("purge_id");
        let (position, purge) = &log.purges[&id];
        let number = |column| u64::try_from(row.get::<i64, _>(column)).expect("a count");
        assert_eq!(row.get::<i32, _>("project_no"), project.no);
        assert_eq!(row.get::<i64, _>("position"), *position, "view_purges");
        assert_eq!(row.get::<String, _>("status"), purge.status.as_str());
        assert_eq!(
            ["matched", "total", "deleted", "not_found", "failed"].map(number),
            [
                purge.matched,
                purge.total,
                purge.counts.deleted,
                purge.counts.not_found,
                purge.counts.failed
            ]
        );
        assert_eq!(purge.remaining(), 0, "every purge ended");
        assert_eq!(
            ["created_at", "started_at", "finished_at"].map(|column| time(row, column)),
            [purge.created_at, purge.started_at, purge.finished_at]
        );
        assert_eq!(row.get::<i16, _>("progress_pct"), 100);
    }
    assert_eq!(rows.len(), log.purges.len(), "view_purges");
    let failed: u64 = log
        .purges
        .values()
        .map(|(_, purge)| purge.counts.failed)
        .sum();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM view_purge_failures")
        .fetch_one(connection)
        .await
        .expect("a count");
    assert_eq!(u64::try_from(kept), Ok(failed), "view_purge_failures");
}
