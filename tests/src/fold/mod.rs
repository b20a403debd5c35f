//! What every read table must say: the log of a cell, folded with the domain, and the comparison with what is stored.

mod access;
mod log;
mod tables;

use std::collections::HashSet;

use roster_domain::Scope;
use roster_domain::customer::Customer;
use roster_domain::schema::ProjectSchema;
use roster_domain::stream::{Claim, Stream, claim_kind};
use roster_store::{Project, verify};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::log::Log;
use crate::database::Database;

/// Holds every read table, every claim and every snapshot of a database against the fold of its log up to the head.
/// The log is of one project, whose jobs have ended.
///
/// # Panics
/// Where anything differs; the text says what.
pub async fn check(database: &Database, scope: &Scope, head: i64) {
    // A fresh cell: a cache may be behind what another server wrote, the database may not.
    let fresh = database.cell().await.expect("a cell");
    let cell = &fresh.cell;
    let project = cell
        .project(scope)
        .await
        .expect("a look-up")
        .expect("the project");
    let mut connection = database.superuser().await.expect("a connection");
    let (count, highest): (i64, i64) =
        sqlx::query_as("SELECT count(*), max(position) FROM log_events")
            .fetch_one(&mut connection)
            .await
            .expect("a count");
    assert_eq!((count, highest), (head, head), "gapless");
    let log = Log::read(cell).await;
    let schema = cell
        .load::<ProjectSchema>(&project, project.schema_stream)
        .await
        .expect("the schema")
        .state;
    check_claims(&mut connection, &project, &schema, &log).await;
    tables::check_customers(&mut connection, &project, &log).await;
    tables::check_search(&mut connection, &project, &log).await;
    tables::check_data_sources(&mut connection, &project, &log, head).await;
    tables::check_small_tables(&mut connection, &log, &schema).await;
    tables::check_purges(&mut connection, &project, &log).await;
    access::check_identities(&mut connection, &project, &log).await;
    access::check_grants(&mut connection, &project, &log).await;
    access::check_blocks(&mut connection, &project, &log).await;
    for (stream, folded) in log.active() {
        let loaded = cell
            .load::<Customer>(&project, *stream)
            .await
            .expect("it loads");
        assert_eq!(
            (loaded.version, &*loaded.state),
            (folded.version, &folded.customer),
            "the snapshot is the fold"
        );
    }
    let report = verify::verify(cell, |_, _| ()).await.expect("a report");
    assert_eq!(report.findings, []);
    fresh.close().await;
}

/// Claims are what the states hold, and the states hold what the schema in effect asks for.
async fn check_claims(
    connection: &mut PgConnection,
    project: &Project,
    schema: &ProjectSchema,
    log: &Log,
) {
    let mut expected: HashSet<(i16, Vec<u8>, Uuid)> = HashSet::new();
    let mut add = |claims: Vec<Claim>, stream: Uuid| {
        expected.extend(
            claims
                .iter()
                .map(|claim| (claim.kind, project.claim_key(claim), stream)),
        );
    };
    log.customers
        .iter()
        .for_each(|(stream, folded)| add(folded.customer.claims(), *stream));
    log.suppressions
        .iter()
        .for_each(|(stream, suppression)| add(suppression.claims(), *stream));
    log.channels
        .iter()
        .for_each(|(stream, (access, _))| add(access.claims(), *stream));
    log.identities
        .iter()
        .for_each(|(stream, identity)| add(identity.claims(), *stream));
    let stored: Vec<(i16, Vec<u8>, Uuid)> =
        sqlx::query_as("SELECT kind, key, stream_id FROM log_claims WHERE kind <> $1")
            .bind(claim_kind::OPEN_JOB)
            .fetch_all(connection)
            .await
            .expect("claims");
    assert_eq!(stored.into_iter().collect::<HashSet<_>>(), expected);

    let unique: Vec<&str> = schema
        .definition
        .fields
        .iter()
        .filter(|field| field.unique && field.name != schema.definition.primary_key)
        .map(|field| field.name.as_str())
        .collect();
    let mut values = HashSet::new();
    for (_, folded) in log.active() {
        let customer = &folded.customer;
        let profile = customer
            .profile
            .known()
            .expect("an active customer is known");
        for field in &unique {
            if let Some(value) = profile.get(*field) {
                assert!(
                    customer.claimed.iter().any(|claimed| claimed == field),
                    "{field} is not claimed"
                );
                assert!(
                    values.insert((*field, value.as_text())),
                    "two customers have the same {field}"
                );
            }
        }
    }
}
