//! A log that goes on from a copy: its next epoch, and whether what was erased after the copy is erased again.
//!
//! Taking and reading the copy is the command line's business. A restore is under way from [`begin`] to [`finish`]; from
//! then on it is unchecked until [`mark_checked`], and a server that looks first ([`unchecked`]) does not serve it.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::{Connection, Executor, FromRow, PgConnection, PgPool};

use crate::migrate::{self, CONTROL_SCHEMA, KeyCheck};
use crate::vault::Vault;
use crate::{Cell, StoreError};

/// Stands in the restored database from before its first table until it is marked; no copy holds it.
const UNDER_WAY: &str = "public.roster_restore_under_way";

/// One life of a log that began with a copy.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Restore {
    /// The epoch that it began.
    pub epoch: i32,
    /// When.
    pub restored_at: DateTime<Utc>,
}

/// Where a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The life of the log.
    pub epoch: i32,
    /// The last position; 0 where the log is empty.
    pub position: i64,
    /// The digest of the last batch.
    pub digest: Vec<u8>,
}

/// The restore that was not checked yet, if there is one.
pub async fn unchecked(pool: &PgPool) -> Result<Option<Restore>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT epoch, restored_at
           FROM log_restores
          WHERE checked_at IS NULL
          ORDER BY epoch DESC
          LIMIT 1",
    )
    .fetch_optional(pool)
    .await?)
}

/// Begins the next epoch, one above `used` at least, as unchecked; gives it.
///
/// `used` is the highest epoch that anything outside the database knows: a copy that is restored twice must not begin the
/// same epoch twice.
pub async fn begin_epoch(connection: &mut PgConnection, used: i32) -> Result<i32, StoreError> {
    let mut transaction = connection.begin().await?;
    let epoch = sqlx::query_scalar(
        "UPDATE log_epoch
            SET epoch = GREATEST(epoch, $1) + 1,
                started_at = clock_timestamp()
      RETURNING epoch",
    )
    .bind(used)
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query("INSERT INTO log_restores (epoch) VALUES ($1)")
        .bind(epoch)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(epoch)
}

/// Everybody who was listed as erased is: servers may serve again.
pub async fn mark_checked(pool: &PgPool, listed: i64, erased: i64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE log_restores
            SET checked_at = clock_timestamp(),
                listed = $1,
                erased = $2
          WHERE checked_at IS NULL",
    )
    .bind(listed)
    .bind(erased)
    .execute(pool)
    .await?;
    Ok(())
}

/// The key-encryption keys that a copy needs, by a connection of the owner.
pub async fn keys_in_use(owner: &mut PgConnection) -> Result<Vec<KeyCheck>, StoreError> {
    search_in(owner, CONTROL_SCHEMA).await?;
    migrate::checks(owner).await
}

/// The names of the cells of a database, by a connection of the owner.
pub async fn cells(owner: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    search_in(owner, CONTROL_SCHEMA).await?;
    Ok(sqlx::query_scalar("SELECT name FROM cells ORDER BY name")
        .fetch_all(owner)
        .await?)
}

/// Where the log of a cell ends, by a connection of the owner.
pub async fn head(owner: &mut PgConnection, cell: &str) -> Result<Head, StoreError> {
    search_in(owner, &migrate::schema_of(cell)).await?;
    let epoch = sqlx::query_scalar("SELECT epoch FROM log_epoch")
        .fetch_one(&mut *owner)
        .await?;
    let last: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT last_position, digest FROM log_batches ORDER BY last_position DESC LIMIT 1",
    )
    .fetch_optional(owner)
    .await?;
    let (position, digest) = last.unwrap_or_default();
    Ok(Head {
        epoch,
        position,
        digest,
    })
}

async fn search_in(owner: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    owner
        .execute(format!("SET search_path = {schema}, public").as_str())
        .await?;
    Ok(())
}

/// The schemas of a database that are Roster's: a restore wants there to be none.
pub async fn schemas(owner: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT quote_ident(nspname)
           FROM pg_namespace
          WHERE nspname LIKE 'roster\\_%'
          ORDER BY nspname",
    )
    .fetch_all(owner)
    .await?)
}

/// Whether a restore into this database began and has not ended.
pub async fn is_under_way(owner: &mut PgConnection) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(UNDER_WAY)
        .fetch_one(owner)
        .await?)
}

/// Makes the database ready for the copied schemas: those that are there go, and no server starts from here on.
pub async fn begin(owner: &mut PgConnection, replaced: &[String]) -> Result<(), StoreError> {
    owner
        .execute(format!("CREATE TABLE IF NOT EXISTS {UNDER_WAY} ()").as_str())
        .await?;
    for schema in replaced {
        owner
            .execute(format!("DROP SCHEMA {schema} CASCADE").as_str())
            .await?;
    }
    migrate::create_extensions(owner).await
}

/// Brings the copied schemas of a cell up to date and marks them: the next epoch, unchecked, read models to be filled
/// again from the log; gives the epoch.
pub async fn adopt(owner_url: &SecretString, cell: &str, vault: &Vault) -> Result<i32, StoreError> {
    migrate::migrate_restored(owner_url, cell, vault).await?;
    let mut owner = migrate::connect(owner_url, &migrate::schema_of(cell)).await?;
    sqlx::query("DELETE FROM log_checkpoints")
        .execute(&mut owner)
        .await?;
    let epoch = begin_epoch(&mut owner, 0).await?;
    owner.close().await?;
    Ok(epoch)
}

/// The restore is done; what remains is the check.
pub async fn finish(owner: &mut PgConnection) -> Result<(), StoreError> {
    owner
        .execute(format!("DROP TABLE {UNDER_WAY}").as_str())
        .await?;
    Ok(())
}

impl Cell {
    /// Begins the next epoch of this cell as unchecked, above those that are known to be used; gives it.
    pub async fn begin_epoch(&self, used: i32) -> Result<i32, StoreError> {
        let epoch = begin_epoch(&mut *self.pool().acquire().await?, used).await?;
        Ok(self.note_epoch(epoch))
    }

    /// The epoch is raised above those that are known to be used, where it is not yet; gives it.
    pub async fn raise_epoch(&self, used: i32) -> Result<i32, StoreError> {
        let mut transaction = self.pool().begin().await?;
        let (before, epoch): (i32, i32) = sqlx::query_as(
            "WITH present AS (SELECT epoch FROM log_epoch FOR UPDATE)
             UPDATE log_epoch e
                SET epoch = GREATEST(e.epoch, $1 + 1)
               FROM present p
          RETURNING p.epoch, e.epoch",
        )
        .bind(used)
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query("UPDATE log_restores SET epoch = $2 WHERE epoch = $1")
            .bind(before)
            .bind(epoch)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(self.note_epoch(epoch))
    }
}
