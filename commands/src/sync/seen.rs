//! Who a walk found at its source, until the run ends: customers as bits by the numbers of their rows in `job_sync_known`
//! (table `job_sync_seen`), and records that could not be applied (`job_sync_failed`). Such a record is there, so nobody is taken
//! away for it. Memory stays the same whatever the source's size.

use std::collections::{HashMap, HashSet};

use roster_store::Cell;
use uuid::Uuid;

use crate::CommandError;
use crate::known::{Finding, KEEP, columns};

/// Remembers customers with what is known of them, and those whose rows have these numbers; how many of all are new to the run.
pub(super) async fn mark(
    cell: &Cell,
    run_id: Uuid,
    connection: Uuid,
    findings: &[Finding],
    passed: &[i64],
) -> Result<u64, CommandError> {
    if findings.is_empty() && passed.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "WITH kept AS ({KEEP}
         RETURNING k.no
         ), marks AS MATERIALIZED (
            SELECT m.no >> 10 AS block, bit_or(set_bit(0::bit(1024), (m.no & 1023)::integer, 1)) AS bits
              FROM (SELECT no FROM kept UNION ALL SELECT unnest($7::bigint[])) AS m(no)
             GROUP BY m.no >> 10
         ), put AS (
            INSERT INTO job_sync_seen AS s (run_id, block, bits)
            SELECT $6, m.block, m.bits
              FROM marks m
                ON CONFLICT (run_id, block) DO UPDATE
               SET bits = s.bits | EXCLUDED.bits
         )
         SELECT COALESCE(sum(bit_count(m.bits & ~COALESCE(s.bits, 0::bit(1024)))), 0)::bigint
           FROM marks m
           LEFT JOIN job_sync_seen s ON s.run_id = $6 AND s.block = m.block"
    );
    let new: i64 = sqlx::query_scalar_with(&sql, columns(connection, findings)?)
        .bind(run_id)
        .bind(passed)
        .fetch_one(cell.pool())
        .await?;
    Ok(u64::try_from(new).unwrap_or_default())
}

/// Remembers records that could not be applied; how many of them are new.
pub(super) async fn mark_failed(
    cell: &Cell,
    run_id: Uuid,
    records: &[Uuid],
) -> Result<u64, CommandError> {
    if records.is_empty() {
        return Ok(0);
    }
    let marked = sqlx::query(
        "INSERT INTO job_sync_failed (run_id, record)
         SELECT $1, unnest($2::uuid[])
             ON CONFLICT DO NOTHING",
    )
    .bind(run_id)
    .bind(records)
    .execute(cell.pool())
    .await?;
    Ok(marked.rows_affected())
}

/// Those of these customers whom the run met, and what stands for the record by which it did.
pub(super) async fn found(
    cell: &Cell,
    run_id: Uuid,
    connection: Uuid,
    streams: &[Uuid],
) -> Result<HashMap<Uuid, i64>, CommandError> {
    if streams.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT k.stream_id, k.record
           FROM unnest($3::uuid[]) AS wanted(stream_id)
          CROSS JOIN LATERAL (
                SELECT o.stream_id, o.record, o.no
                  FROM job_sync_known o
                 WHERE o.stream_id = wanted.stream_id AND o.connection_id = $2
                OFFSET 0) k
          CROSS JOIN LATERAL (
                SELECT
                  FROM job_sync_seen b
                 WHERE b.run_id = $1 AND b.block = k.no >> 10 AND get_bit(b.bits, (k.no & 1023)::integer) = 1
                OFFSET 0) s",
    )
    .bind(run_id)
    .bind(connection)
    .bind(streams)
    .fetch_all(cell.pool())
    .await?;
    Ok(rows.into_iter().collect())
}

/// The customers whom the run met by some of these records ([`crate::known::short`]).
pub(super) async fn met(
    cell: &Cell,
    run_id: Uuid,
    connection: Uuid,
    records: &[i64],
) -> Result<Vec<Uuid>, CommandError> {
    let streams = sqlx::query_scalar(
        "SELECT k.stream_id
           FROM unnest($3::bigint[]) AS wanted(record)
          CROSS JOIN LATERAL (
                SELECT o.stream_id, o.no
                  FROM job_sync_known o
                 WHERE o.record = wanted.record AND o.connection_id = $2
                OFFSET 0) k
          CROSS JOIN LATERAL (
                SELECT
                  FROM job_sync_seen b
                 WHERE b.run_id = $1 AND b.block = k.no >> 10 AND get_bit(b.bits, (k.no & 1023)::integer) = 1
                OFFSET 0) s",
    )
    .bind(run_id)
    .bind(connection)
    .bind(records)
    .fetch_all(cell.pool())
    .await?;
    Ok(streams)
}

/// Which of these records could not be applied.
pub(super) async fn failed(
    cell: &Cell,
    run_id: Uuid,
    records: &[Uuid],
) -> Result<HashSet<Uuid>, CommandError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT f.record
           FROM unnest($2::uuid[]) AS wanted(record)
          CROSS JOIN LATERAL (
                SELECT o.record
                  FROM job_sync_failed o
                 WHERE o.run_id = $1 AND o.record = wanted.record
                OFFSET 0) f",
    )
    .bind(run_id)
    .bind(records)
    .fetch_all(cell.pool())
    .await?;
    Ok(rows.into_iter().collect())
}

/// How many findings there are.
pub(super) async fn count(cell: &Cell, run_id: Uuid) -> Result<u64, CommandError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT (SELECT COALESCE(sum(bit_count(bits)), 0) FROM job_sync_seen WHERE run_id = $1)::bigint
              + (SELECT count(*) FROM job_sync_failed WHERE run_id = $1)",
    )
    .bind(run_id)
    .fetch_one(cell.pool())
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Forgets what a run found.
pub(crate) async fn discard(cell: &Cell, run_id: Uuid) -> Result<(), CommandError> {
    for table in ["job_sync_seen", "job_sync_failed"] {
        sqlx::query(&format!("DELETE FROM {table} WHERE run_id = $1"))
            .bind(run_id)
            .execute(cell.pool())
            .await?;
    }
    Ok(())
}
