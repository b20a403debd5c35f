//! What a job needs and its stream does not keep: table `job_chunks`, sealed, until the job ends.

use roster_store::Cell;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::CommandError;

/// Stages a sealed piece of a job. `text_start` orders the pieces of one text.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    job_id: Uuid,
    no: i32,
    text_start: i64,
    sealed: &[u8],
) -> Result<(), CommandError> {
    sqlx::query(
        "INSERT INTO job_chunks (job_id, chunk_no, text_start, sealed) VALUES ($1, $2, $3, $4)",
    )
    .bind(job_id)
    .bind(no)
    .bind(text_start)
    .bind(sealed)
    .execute(connection)
    .await?;
    Ok(())
}

/// A sealed piece of a job, if it is there.
pub(crate) async fn piece(
    cell: &Cell,
    job_id: Uuid,
    no: i32,
) -> Result<Option<Vec<u8>>, CommandError> {
    Ok(
        sqlx::query_scalar("SELECT sealed FROM job_chunks WHERE job_id = $1 AND chunk_no = $2")
            .bind(job_id)
            .bind(no)
            .fetch_optional(cell.pool())
            .await?,
    )
}

/// Deletes what was staged for a job.
pub(crate) async fn discard(cell: &Cell, job_id: Uuid) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM job_chunks WHERE job_id = $1")
        .bind(job_id)
        .execute(cell.pool())
        .await?;
    Ok(())
}
