//! The read tables of links and grants, stored and as the folded log has them.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::access::{Terms, WILDCARD};
use roster_domain::value::fold::{digits, fold};
use roster_store::Project;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::log::Log;

/// One row of `view_identities`, every column but the key.
#[derive(Debug, PartialEq)]
struct IdentityColumns {
    project_no: i32,
    stream: Uuid,
    customer_user_id: String,
    linked_by: i16,
    linked_at: DateTime<Utc>,
    position: i64,
    haystack: String,
}

/// One row of `view_grants`, every column but the key.
#[derive(Debug, PartialEq)]
struct GrantColumns {
    project_no: i32,
    stream: Uuid,
    terms: Terms,
    granted_at: DateTime<Utc>,
    position: i64,
}

pub(super) async fn check_identities(connection: &mut PgConnection, project: &Project, log: &Log) {
    let rows = sqlx::query("SELECT * FROM view_identities")
        .fetch_all(connection)
        .await
        .expect("rows");
    let stored: BTreeMap<(String, String), IdentityColumns> = rows
        .iter()
        .map(|row| {
            let columns = IdentityColumns {
                project_no: row.get("project_no"),
                stream: row.get("stream_id"),
                customer_user_id: row.get("customer_user_id"),
                linked_by: row.get("linked_by"),
                linked_at: row.get("linked_at"),
                position: row.get("position"),
                haystack: row.get("haystack"),
            };
            ((row.get("channel"), row.get("external_user_id")), columns)
        })
        .collect();
    let mut expected = BTreeMap::new();
    for (stream, folded) in log.active() {
        let id = folded.customer.customer_user_id.known();
        let id = id.expect("an active customer is known");
        for link in &folded.customer.access.links {
            let identity = link.identity.clone();
            let mut haystack = fold(&identity.external_user_id);
            if identity.external_user_id.starts_with('+') {
                haystack = format!("{haystack}\n{}", digits(&identity.external_user_id));
            }
            let columns = IdentityColumns {
                project_no: project.no,
                stream: *stream,
                customer_user_id: id.clone(),
                linked_by: link.linked_by.number(),
                linked_at: link.linked_at.to_utc(),
                position: log.linked[&(*stream, identity.clone())],
                haystack: format!("{haystack}\n{}", fold(id)),
            };
            expected.insert((identity.channel, identity.external_user_id), columns);
        }
    }
    assert_eq!(stored, expected, "view_identities");
}

pub(super) async fn check_grants(connection: &mut PgConnection, project: &Project, log: &Log) {
    let rows = sqlx::query("SELECT * FROM view_grants")
        .fetch_all(connection)
        .await
        .expect("rows");
    let stored: BTreeMap<(String, String), GrantColumns> = rows
        .iter()
        .map(|row| {
            let expires_at: Option<DateTime<Utc>> = row.get("expires_at");
            let columns = GrantColumns {
                project_no: row.get("project_no"),
                stream: row.get("stream_id"),
                terms: Terms {
                    agents: row.get("agents"),
                    enabled: row.get("enabled"),
                    expires_at: expires_at.map(Timestamp::from),
                },
                granted_at: row.get("granted_at"),
                position: row.get("position"),
            };
            ((row.get("channel"), row.get("external_user_id")), columns)
        })
        .collect();
    let mut expected = BTreeMap::new();
    for (stream, folded) in log.active() {
        for grant in &folded.customer.access.grants {
            let identity = grant.identity.clone();
            let columns = GrantColumns {
                project_no: project.no,
                stream: *stream,
                terms: grant.terms.clone(),
                granted_at: grant.granted_at.to_utc(),
                position: log.granted[&(*stream, identity.clone())],
            };
            expected.insert((identity.channel, identity.external_user_id), columns);
        }
    }
    for (stream, (access, position)) in &log.channels {
        if let (Some(channel), Some(terms), Some(at)) =
            (&access.channel, &access.terms, access.granted_at)
        {
            let columns = GrantColumns {
                project_no: project.no,
                stream: *stream,
                terms: terms.clone(),
                granted_at: at.to_utc(),
                position: *position,
            };
            expected.insert((channel.clone(), WILDCARD.to_owned()), columns);
        }
    }
    assert_eq!(stored, expected, "view_grants");
}

/// A pair is blocked on both sides or on none, also in the read table, and no identity keeps somebody who was erased.
pub(super) async fn check_blocks(connection: &mut PgConnection, project: &Project, log: &Log) {
    let of_customers: HashSet<(Uuid, String, String)> = log
        .active()
        .flat_map(|(stream, folded)| {
            let blocked = folded.customer.access.blocked.iter().cloned();
            blocked.map(|identity| (*stream, identity.channel, identity.external_user_id))
        })
        .collect();
    let of_identities: HashSet<(Uuid, String, String)> =
        log.identities
            .values()
            .flat_map(|identity| {
                let channel = identity.channel.clone().unwrap_or_default();
                let id = identity.external_user_id.known().cloned();
                identity.blocked.iter().map(move |customer| {
                    (*customer, channel.clone(), id.clone().unwrap_or_default())
                })
            })
            .collect();
    assert_eq!(of_identities, of_customers);
    let rows = sqlx::query("SELECT * FROM view_blocks")
        .fetch_all(connection)
        .await
        .expect("rows");
    let stored: HashSet<(Uuid, String, String)> = rows
        .iter()
        .map(|row| {
            assert_eq!(row.get::<i32, _>("project_no"), project.no);
            let key = (row.get("channel"), row.get("external_user_id"));
            (row.get("stream_id"), key.0, key.1)
        })
        .collect();
    assert_eq!(stored, of_customers, "view_blocks");
}
