//! Streams that a projection leaves out: table `view_parked`.

use std::collections::HashSet;

use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

/// The streams that are left out.
pub(crate) async fn streams(
    executor: impl PgExecutor<'_>,
    projection: &str,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let streams: Vec<Uuid> =
        sqlx::query_scalar("SELECT stream_id FROM view_parked WHERE projection = $1")
            .bind(projection)
            .fetch_all(executor)
            .await?;
    Ok(streams.into_iter().collect())
}

/// The streams that someone wants folded anew, with their projects.
pub(crate) async fn asked(
    pool: &PgPool,
    projection: &str,
) -> Result<Vec<(i32, Uuid)>, sqlx::Error> {
    sqlx::query_as("SELECT project_no, stream_id FROM view_parked WHERE projection = $1 AND retry")
        .bind(projection)
        .fetch_all(pool)
        .await
}

/// Leaves a stream out from here on.
pub(crate) async fn insert(
    pool: &PgPool,
    projection: &str,
    stream: Uuid,
    project_no: i32,
    position: i64,
    code: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO view_parked (projection, stream_id, project_no, position, error_code)
         VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (projection, stream_id) DO NOTHING",
    )
    .bind(projection)
    .bind(stream)
    .bind(project_no)
    .bind(position)
    .bind(code)
    .execute(pool)
    .await?;
    Ok(())
}

/// Asks for all streams to be folded anew; how many are parked.
pub(crate) async fn ask(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("UPDATE view_parked SET retry = true WHERE projection = $1")
        .bind(projection)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Another projection follows this one and is past the stream: it is asked to fold it anew.
pub(crate) async fn hand_on(
    pool: &PgPool,
    projection: &str,
    stream: Uuid,
    project_no: i32,
    position: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO view_parked (projection, stream_id, project_no, position, error_code, retry)
         VALUES ($1, $2, $3, $4, 'unparked_elsewhere', true)
             ON CONFLICT (projection, stream_id) DO UPDATE
            SET retry = true",
    )
    .bind(projection)
    .bind(stream)
    .bind(project_no)
    .bind(position)
    .execute(pool)
    .await?;
    Ok(())
}

/// A stream that failed again stays parked until it is asked for once more.
pub(crate) async fn keep(
    pool: &PgPool,
    projection: &str,
    stream: Uuid,
    code: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE view_parked
            SET retry = false,
                error_code = $3
          WHERE projection = $1 AND stream_id = $2",
    )
    .bind(projection)
    .bind(stream)
    .bind(code)
    .execute(pool)
    .await?;
    Ok(())
}

/// The stream is part of the projection again; nothing where the lease is another one's, for the tables may be others too.
pub(crate) async fn remove(
    pool: &PgPool,
    projection: &str,
    stream: Uuid,
    epoch: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM view_parked
          WHERE projection = $1
            AND stream_id = $2
            AND EXISTS (SELECT FROM log_checkpoints WHERE name = $1 AND epoch = $3)",
    )
    .bind(projection)
    .bind(stream)
    .bind(epoch)
    .execute(pool)
    .await?;
    Ok(())
}
