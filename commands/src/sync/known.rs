//! What is known of a connection's records from runs before, in table `job_sync_known`: who was found by which record, and by a
//! keyed digest what it said. A record that says the same of a customer at the same version is passed over.
//!
//! A row goes with its customer and with its connection. It never claims what may not be so: the digest of somebody new rests on a
//! stream that nobody else can write, that of somebody known on a state that was read; whoever is changed has none until a later
//! run finds nothing to do.

use roster_store::Cell;
use uuid::Uuid;

use crate::CommandError;

/// A customer as a record was found to name them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding {
    pub(super) stream: Uuid,
    /// What stands for the record ([`short`]).
    pub(super) record: i64,
    /// The customer's version.
    pub(super) version: i32,
    /// What the record said, where applying it again would change nothing.
    pub(super) digest: Option<Uuid>,
}

/// A row whose customer is as they were.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Known {
    pub(super) record: i64,
    /// The number of the row.
    pub(super) no: i64,
    #[sqlx(rename = "stream_id")]
    pub(super) stream: Uuid,
    pub(super) digest: Uuid,
}

/// The part of a record's key that the table has: an index over it takes half as long to write. A digest tells records apart
/// that share it.
pub(super) fn short(record: Uuid) -> i64 {
    record.as_u64_pair().0.cast_signed()
}

/// The rows of records that have a digest, where the customer still has the version that it is about.
pub(super) async fn unchanged(
    cell: &Cell,
    connection: Uuid,
    records: &[i64],
) -> Result<Vec<Known>, CommandError> {
    Ok(sqlx::query_as(
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
    .bind(connection)
    .bind(records)
    .fetch_all(cell.pool())
    .await?)
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
pub(super) async fn forget_erased(cell: &Cell, streams: &[Uuid]) -> Result<(), CommandError> {
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
pub(super) async fn forget_unwritten(cell: &Cell, connection: Uuid) -> Result<(), CommandError> {
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
pub(super) async fn forget_connection(cell: &Cell, connection: Uuid) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM job_sync_known WHERE connection_id = $1")
        .bind(connection)
        .execute(cell.pool())
        .await?;
    Ok(())
}
