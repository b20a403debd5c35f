//! Leases of jobs: one worker at a time, fenced by an epoch.

use sqlx::PgPool;
use uuid::Uuid;

use crate::StoreError;

/// Takes a job over if nobody works on it, or if the caller does: its epoch. `None` while another worker does.
pub async fn acquire(
    pool: &PgPool,
    job_id: Uuid,
    project_no: i32,
    kind: i16,
    owner: &str,
    seconds: f64,
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO job_leases AS l (job_id, project_no, kind, owner, epoch, leased_till)
         VALUES ($1, $2, $3, $4, 1, clock_timestamp() + make_interval(secs => $5))
             ON CONFLICT (job_id) DO UPDATE
            SET owner = EXCLUDED.owner,
                epoch = l.epoch + 1,
                leased_till = EXCLUDED.leased_till
          WHERE l.owner = EXCLUDED.owner OR l.leased_till < clock_timestamp()
      RETURNING epoch",
        job_id,
        project_no,
        kind,
        owner,
        seconds
    )
    .fetch_optional(pool)
    .await?)
}

/// Prolongs a lease; `false` means that another worker has the job.
pub async fn renew(
    pool: &PgPool,
    job_id: Uuid,
    epoch: i64,
    seconds: f64,
) -> Result<bool, StoreError> {
    let renewed = sqlx::query!(
        "UPDATE job_leases
            SET leased_till = clock_timestamp() + make_interval(secs => $3)
          WHERE job_id = $1 AND epoch = $2",
        job_id,
        epoch,
        seconds
    )
    .execute(pool)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Ends a lease: the job is done, or another worker may go on.
pub async fn release(pool: &PgPool, job_id: Uuid, epoch: i64) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM job_leases WHERE job_id = $1 AND epoch = $2",
        job_id,
        epoch
    )
    .execute(pool)
    .await?;
    Ok(())
}
