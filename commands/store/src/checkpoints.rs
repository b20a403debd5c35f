//! Where each projection stands. A projection moves its checkpoint in the transaction that wrote its rows.

use sqlx::{PgConnection, PgPool};

use crate::StoreError;

/// The right to run a projection, until `seconds` after its last advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Raised with every new owner: an older owner is fenced.
    pub epoch: i64,
    /// The last position whose rows are written.
    pub position: i64,
    /// The projection's version that wrote them.
    pub version: i32,
}

/// Takes a projection over if nobody holds it, or if the caller does; `None` while another owner does.
pub async fn acquire(
    pool: &PgPool,
    name: &str,
    version: i32,
    owner: &str,
    seconds: f64,
) -> Result<Option<Lease>, StoreError> {
    sqlx::query!(
        "INSERT INTO log_checkpoints (name, version)
         VALUES ($1, $2)
             ON CONFLICT DO NOTHING",
        name,
        version
    )
    .execute(pool)
    .await?;
    Ok(sqlx::query_as!(
        Lease,
        "UPDATE log_checkpoints
            SET owner = $2,
                epoch = epoch + 1,
                leased_till = clock_timestamp() + make_interval(secs => $3)
          WHERE name = $1 AND (owner = $2 OR leased_till < clock_timestamp())
      RETURNING epoch, position, version",
        name,
        owner,
        seconds
    )
    .fetch_optional(pool)
    .await?)
}

/// Takes a projection over whoever holds it, who is fenced by it; `None` where it never ran.
pub async fn seize(
    connection: &mut PgConnection,
    name: &str,
    owner: &str,
    seconds: f64,
) -> Result<Option<Lease>, StoreError> {
    let lease: Option<(i64, i64, i32)> = sqlx::query_as(
        "UPDATE log_checkpoints
            SET owner = $2,
                epoch = epoch + 1,
                leased_till = clock_timestamp() + make_interval(secs => $3)
          WHERE name = $1
      RETURNING epoch, position, version",
    )
    .bind(name)
    .bind(owner)
    .bind(seconds)
    .fetch_optional(connection)
    .await?;
    Ok(lease.map(|(epoch, position, version)| Lease {
        epoch,
        position,
        version,
    }))
}

/// Prolongs a lease while there is nothing to write; `false` means fenced, or that the position is no longer this one, for
/// Postgres may lose commits that nobody waited for.
pub async fn renew(
    pool: &PgPool,
    name: &str,
    epoch: i64,
    position: i64,
    seconds: f64,
) -> Result<bool, StoreError> {
    let renewed = sqlx::query(
        "UPDATE log_checkpoints
            SET leased_till = clock_timestamp() + make_interval(secs => $4)
          WHERE name = $1 AND epoch = $2 AND position = $3",
    )
    .bind(name)
    .bind(epoch)
    .bind(position)
    .bind(seconds)
    .execute(pool)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Gives a lease up, so that another server need not wait for its end.
pub async fn release(pool: &PgPool, name: &str, epoch: i64) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE log_checkpoints
            SET owner = NULL,
                leased_till = 'epoch'
          WHERE name = $1 AND epoch = $2",
        name,
        epoch
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Who holds a projection, and where it stands; position 0 where it never ran.
pub async fn position(pool: &PgPool, name: &str) -> Result<(i64, Option<String>), StoreError> {
    let found = sqlx::query!(
        "SELECT position, owner FROM log_checkpoints WHERE name = $1",
        name
    )
    .fetch_optional(pool)
    .await?;
    Ok(found
        .map(|row| (row.position, row.owner))
        .unwrap_or_default())
}
