//! Who a walk found at its source: table `job_sync_seen`, until the run ends. Memory stays the same whatever the source's size.
//!
//! A key is the stream of a customer, or the keyed hash of a record that could not be applied: such a record is there, so
//! nobody is taken away for it.

use std::collections::{HashMap, HashSet};

use roster_store::Cell;
use uuid::Uuid;

use crate::CommandError;

/// One finding: the key, and the keyed hash of the record.
pub(super) type Mark = (Uuid, Uuid);

/// Remembers findings; how many of them are new.
pub(super) async fn mark(cell: &Cell, run_id: Uuid, marks: &[Mark]) -> Result<u64, CommandError> {
    let (keys, records): (Vec<Uuid>, Vec<Uuid>) = marks.iter().copied().unzip();
    let marked = sqlx::query(
        "INSERT INTO job_sync_seen (run_id, key, record)
         SELECT $1, u.key, u.record
           FROM unnest($2::uuid[], $3::uuid[]) AS u(key, record)
             ON CONFLICT DO NOTHING",
    )
    .bind(run_id)
    .bind(keys)
    .bind(records)
    .execute(cell.pool())
    .await?;
    Ok(marked.rows_affected())
}

/// By which records these keys were found before.
pub(super) async fn found(
    cell: &Cell,
    run_id: Uuid,
    keys: &[Uuid],
) -> Result<HashMap<Uuid, Uuid>, CommandError> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT f.key, f.record
           FROM unnest($2::uuid[]) AS wanted(key)
          CROSS JOIN LATERAL (
                SELECT s.key, s.record
                  FROM job_sync_seen s
                 WHERE s.run_id = $1 AND s.key = wanted.key
                OFFSET 0) f",
    )
    .bind(run_id)
    .bind(keys)
    .fetch_all(cell.pool())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Which of these keys were found.
pub(super) async fn are_there(
    cell: &Cell,
    run_id: Uuid,
    keys: &[Uuid],
) -> Result<HashSet<Uuid>, CommandError> {
    Ok(found(cell, run_id, keys).await?.into_keys().collect())
}

/// How many findings there are.
pub(super) async fn count(cell: &Cell, run_id: Uuid) -> Result<u64, CommandError> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM job_sync_seen WHERE run_id = $1")
        .bind(run_id)
        .fetch_one(cell.pool())
        .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Forgets what a run found.
pub(crate) async fn discard(cell: &Cell, run_id: Uuid) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM job_sync_seen WHERE run_id = $1")
        .bind(run_id)
        .execute(cell.pool())
        .await?;
    Ok(())
}
