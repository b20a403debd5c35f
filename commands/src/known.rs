//! What is known of a source's records from before, in table `job_sync_known`: who was found by which record, and by a keyed digest
//! what it said. A record that says the same of a customer at the same version is passed over. Sources are the connections of
//! syncs, and the providers of imported files.
//!
//! A row goes with its customer and with its connection. It never claims what may not be so: the digest of somebody new rests on a
//! stream that nobody else can write, that of somebody known on a state that was read; whoever is changed has none until a later
//! run finds nothing to do.

use std::collections::HashMap;

use roster_store::{Cell, StoreError};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use crate::CommandError;

/// A customer as a record was found to name them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) stream: Uuid,
    /// What stands for the record ([`short`]).
    pub(crate) record: i64,
    /// The customer's version.
    pub(crate) version: i32,
    /// What the record said, where applying it again would change nothing.
    pub(crate) digest: Option<Uuid>,
}

/// Writes findings of source `$1`, whose columns are `$2` to `$5` ([`columns`]).
pub(crate) const KEEP: &str = "
    INSERT INTO job_sync_known AS k (connection_id, stream_id, record, version, digest)
    SELECT $1, unnest($2::uuid[]), unnest($3::bigint[]), unnest($4::integer[]), unnest($5::uuid[])
        ON CONFLICT (stream_id, connection_id) DO UPDATE
       SET record = EXCLUDED.record, version = EXCLUDED.version, digest = EXCLUDED.digest";

/// The arguments of [`KEEP`].
pub(crate) fn columns(source: Uuid, findings: &[Finding]) -> Result<PgArguments, StoreError> {
    let streams: Vec<Uuid> = findings.iter().map(|finding| finding.stream).collect();
    let records: Vec<i64> = findings.iter().map(|finding| finding.record).collect();
    let versions: Vec<i32> = findings.iter().map(|finding| finding.version).collect();
    let digests: Vec<Option<Uuid>> = findings.iter().map(|finding| finding.digest).collect();
    let mut arguments = PgArguments::default();
    arguments
        .add(source)
        .and_then(|()| arguments.add(streams))
        .and_then(|()| arguments.add(records))
        .and_then(|()| arguments.add(versions))
        .and_then(|()| arguments.add(digests))
        .map_err(|error| StoreError::Database(sqlx::Error::Encode(error)))?;
    Ok(arguments)
}

/// A row whose customer is as they were.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct Known {
    record: i64,
    /// The number of the row.
    pub(crate) no: i64,
    #[sqlx(rename = "stream_id")]
    pub(crate) stream: Uuid,
    pub(crate) digest: Uuid,
}

/// The part of a record's key that the table has: an index over it takes half as long to write. A digest tells records apart
/// that share it.
pub(crate) fn short(record: Uuid) -> i64 {
    record.as_u64_pair().0.cast_signed()
}

/// The rows of records that have a digest, with the records' places, where the customer still has the version that it is about. Of
/// a record that comes twice none is asked for: the first may change what the second meets. Records that are in the order in which
/// they once came find their rows and customers side by side.
pub(crate) async fn unchanged(
    cell: &Cell,
    source: Uuid,
    records: &[Option<i64>],
) -> Result<Vec<(usize, Known)>, CommandError> {
    let mut places: HashMap<i64, Option<usize>> = HashMap::with_capacity(records.len());
    for (place, record) in records.iter().enumerate() {
        let Some(record) = record else { continue };
        places
            .entry(*record)
            .and_modify(|known| *known = None)
            .or_insert(Some(place));
    }
    let place_of = |record: i64| places.get(&record).copied().flatten();
    let wanted: Vec<i64> = records
        .iter()
        .flatten()
        .copied()
        .filter(|record| place_of(*record).is_some())
        .collect();
    let rows: Vec<Known> = sqlx::query_as(
        "SELECT k.record, k.no, k.stream_id, k.digest
           FROM unnest($2::bigint[]) AS wanted(record)
          CROSS JOIN LATERAL (
                SELECT *
                  FROM job_sync_known o
                 WHERE o.record = wanted.record AND o.connection_id = $1 AND o.digest IS NOT NULL
                OFFSET 0) k
          CROSS JOIN LATERAL (
                SELECT
                  FROM log_streams o
                 WHERE o.stream_id = k.stream_id AND o.version = k.version
                OFFSET 0) s",
    )
    .bind(source)
    .bind(wanted)
    .fetch_all(cell.pool())
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((place_of(row.record)?, row)))
        .collect())
}

/// Remembers customers whose states are in the log. Whoever erases one of them meanwhile forgets before this writes, or this finds
/// the stream closed.
pub(crate) async fn learn(
    cell: &Cell,
    source: Uuid,
    findings: &[Finding],
) -> Result<(), CommandError> {
    if findings.is_empty() {
        return Ok(());
    }
    sqlx::query_with(KEEP, columns(source, findings)?)
        .execute(cell.pool())
        .await?;
    let streams: Vec<Uuid> = findings.iter().map(|finding| finding.stream).collect();
    forget_erased(cell, &streams).await
}

/// Forgets customers, for every connection: they are erased, or never came to be.
pub(crate) async fn forget(cell: &Cell, streams: &[Uuid]) -> Result<(), CommandError> {
    if !streams.is_empty() {
        sqlx::query("DELETE FROM job_sync_known WHERE stream_id = ANY ($1)")
            .bind(streams)
            .execute(cell.pool())
            .await?;
    }
    Ok(())
}

/// Forgets those of some customers who were erased after they had been read: whoever erases forgets before this writes, or
/// this finds the stream closed.
pub(crate) async fn forget_erased(cell: &Cell, streams: &[Uuid]) -> Result<(), CommandError> {
    if !streams.is_empty() {
        sqlx::query(
            "DELETE FROM job_sync_known k
              USING unnest($1::uuid[]) AS wanted(stream_id)
              CROSS JOIN LATERAL (
                    SELECT FROM log_streams o WHERE o.stream_id = wanted.stream_id AND o.flags & 1 = 1
                    OFFSET 0) s
              WHERE k.stream_id = wanted.stream_id",
        )
        .bind(streams)
        .execute(cell.pool())
        .await?;
    }
    Ok(())
}

/// Forgets customers of a connection who were decided on and never written, because a run stopped in between.
pub(crate) async fn forget_unwritten(cell: &Cell, connection: Uuid) -> Result<(), CommandError> {
    sqlx::query(
        "DELETE FROM job_sync_known k
          WHERE k.connection_id = $1
            AND NOT EXISTS (SELECT FROM log_streams s WHERE s.stream_id = k.stream_id)",
    )
    .bind(connection)
    .execute(cell.pool())
    .await?;
    Ok(())
}

/// Forgets everything about a connection.
pub(crate) async fn forget_connection(cell: &Cell, connection: Uuid) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM job_sync_known WHERE connection_id = $1")
        .bind(connection)
        .execute(cell.pool())
        .await?;
    Ok(())
}
