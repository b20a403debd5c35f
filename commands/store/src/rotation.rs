//! Another key-encryption key: every wrapped key is wrapped anew, in small steps, while servers serve.
//!
//! A key is in use from the row in `key_checks` on, and the highest one in use wraps new keys; servers look every
//! [`LOOK`]. The old one is retired once the database itself vouches, by constraints, that nothing is wrapped with it and
//! nothing ever will be. Each step can be repeated, so a rotation that was killed is simply begun again.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;
use uuid::Uuid;

use crate::migrate::{self, CONTROL_SCHEMA};
use crate::restore;
use crate::vault::{Vault, WrappedKey};
use crate::{StoreError, VaultError};

/// How often a server that has several keys looks which are in use.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
/// How long after a key was put in use every server wraps with it: two looks and a busy moment.
const NOTICED: f64 = 5.0;
/// How long a change of a table's form may wait for its lock, and keep others waiting behind it.
const LOCK_WAIT: &str = "SET lock_timeout = '100ms'";
/// `lock_not_available`: somebody reads the table for long, such as a backup.
const LOCKED: &str = "55P03";

/// How the names of connections begin that servers and commands keep open.
pub const SESSIONS: &str = "roster keys ";

/// What a connection is called: the numbers of the keys of whoever opened it.
pub(crate) fn session_name(vault: &Vault) -> String {
    let numbers: Vec<String> = vault.numbers().iter().map(i16::to_string).collect();
    format!("{SESSIONS}{}", numbers.join(","))
}

/// How a rotation goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Keys of one step; the log is locked for that long, some 10 ms for 500.
    pub batch: i64,
    /// The wait after a step.
    pub pause: Duration,
}

/// What a rotation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// The number of the key that wraps everything now.
    pub key_no: i16,
    /// Data keys that were wrapped anew in this run.
    pub streams: u64,
    /// Peppers that were.
    pub projects: u64,
}

/// The old and the new keys in one vault, and the number of the new one: that of an interrupted rotation to the same key,
/// else the next free one.
///
/// # Errors
/// [`StoreError::Vault`] where a key in use is missing.
pub async fn plan(
    owner_url: &SecretString,
    vault: &Vault,
    new: Option<&Vault>,
) -> Result<(Vault, i16), StoreError> {
    let mut control = migrate::connect(owner_url, CONTROL_SCHEMA).await?;
    let checks = migrate::checks(&mut control).await?;
    control.close().await?;
    let newest_in_use = checks.last().map_or(0, |check| check.key_no);
    let Some(new) = new else {
        let configured = vault.numbers().into_iter().max().unwrap_or_default();
        return Ok((vault.clone(), configured.max(newest_in_use)));
    };
    for check in checks.iter().rev() {
        let known = vault.with_newest_of(new, check.key_no)?;
        if check.verify(&known).is_ok() {
            return Ok((known, check.key_no));
        }
    }
    let next = newest_in_use + 1;
    Ok((vault.with_newest_of(new, next)?, next))
}

/// Wraps everything with the key of a number and retires the others. `told` hears of each step: where, how many keys are
/// done, how many there are.
///
/// # Errors
/// Before anything was changed [`StoreError::Vault`] where a key in use is not in the vault, and
/// [`StoreError::KeyMissingElsewhere`] where a server is connected that could not read what is wrapped with the new key.
pub async fn rotate(
    owner_url: &SecretString,
    vault: &Vault,
    key_no: i16,
    pace: Pace,
    mut told: impl FnMut(&str, u64, u64),
) -> Result<Rotated, StoreError> {
    let mut control = migrate::connect(owner_url, CONTROL_SCHEMA).await?;
    migrate::check_key(&mut control, vault).await?;
    if !vault.numbers().contains(&key_no) {
        return Err(VaultError::MissingKey(key_no).into());
    }
    refuse_unprepared(&mut control, key_no).await?;
    migrate::keep_check(&mut control, vault, key_no).await?;
    let mut rotated = Rotated {
        key_no,
        ..Rotated::default()
    };
    let cells = restore::cells(&mut control).await?;
    let mut tables = Vec::new();
    for cell in cells {
        let connection = migrate::connect(owner_url, &migrate::schema_of(&cell)).await?;
        tables.push((cell, connection));
    }
    for (cell, connection) in &mut tables {
        let mut step = |done, all| told(cell, done, all);
        rotated.streams += streams(connection, vault, key_no, pace, &mut step).await?;
    }
    rotated.projects += peppers(&mut control, vault, key_no).await?;
    wait_until_noticed(&mut control, key_no).await?;
    for (cell, connection) in &mut tables {
        demand(connection, "log_streams", "key_no", key_no).await?;
        let mut step = |done, all| told(cell, done, all);
        rotated.streams += streams(connection, vault, key_no, pace, &mut step).await?;
        vouch(connection, "log_streams").await?;
    }
    demand(&mut control, "projects", "pepper_key_no", key_no).await?;
    rotated.projects += peppers(&mut control, vault, key_no).await?;
    vouch(&mut control, "projects").await?;
    sqlx::query("DELETE FROM key_checks WHERE key_no <> $1")
        .bind(key_no)
        .execute(&mut control)
        .await?;
    vault.adopt(&[key_no]);
    // Logins are derived from the oldest key in use, which is another one now.
    for (cell, connection) in &mut tables {
        migrate::create_role(connection, &migrate::schema_of(cell), vault).await?;
    }
    for (_, connection) in tables {
        connection.close().await?;
    }
    control.close().await?;
    Ok(rotated)
}

/// Refuses while somebody is connected who has not the new key. Postgres may hide the names of connections from an owner who
/// is no superuser; then nothing is known.
async fn refuse_unprepared(control: &mut PgConnection, key_no: i16) -> Result<(), StoreError> {
    let unprepared: bool = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM pg_stat_activity
              WHERE datname = current_database()
                AND starts_with(application_name, $1)
                AND NOT string_to_array(substr(application_name, length($1) + 1), ',') @> ARRAY[$2])",
    )
    .bind(SESSIONS)
    .bind(key_no.to_string())
    .fetch_one(control)
    .await?;
    if unprepared {
        Err(StoreError::KeyMissingElsewhere(key_no))
    } else {
        Ok(())
    }
}

/// Wraps the data keys of one cell anew; how many there were.
async fn streams(
    connection: &mut PgConnection,
    vault: &Vault,
    key_no: i16,
    pace: Pace,
    told: &mut impl FnMut(u64, u64),
) -> Result<u64, StoreError> {
    let all: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM log_streams WHERE key IS NOT NULL AND key_no <> $1",
    )
    .bind(key_no)
    .fetch_one(&mut *connection)
    .await?;
    let (mut after, mut done) = (Uuid::nil(), 0);
    loop {
        let page: Vec<(Uuid, i16, Vec<u8>)> = sqlx::query_as(
            "SELECT stream_id, key_no, key
               FROM log_streams
              WHERE stream_id > $1
                AND key_no <> $2
                AND key IS NOT NULL
              ORDER BY stream_id
              LIMIT $3",
        )
        .bind(after)
        .bind(key_no)
        .bind(pace.batch)
        .fetch_all(&mut *connection)
        .await?;
        let Some((last, ..)) = page.last() else {
            return Ok(done);
        };
        after = *last;
        let (mut stream, mut old, mut new) = (vec![], vec![], vec![]);
        for (stream_id, old_no, wrapped) in page {
            let about = stream_id.as_bytes();
            let secret = vault.unwrap(about, old_no, &wrapped)?;
            new.push(vault.wrap_under(key_no, about, &secret).bytes);
            stream.push(stream_id);
            old.push(wrapped);
        }
        let mut transaction = connection.begin().await?;
        // In turn with the appends: two that lock rows of many streams in different orders would wait for each other.
        transaction
            .execute("SELECT FROM log_head FOR UPDATE")
            .await?;
        // A key that was destroyed since it was read stays destroyed.
        let changed = sqlx::query(
            "UPDATE log_streams s
                SET key_no = $1,
                    key = n.new
               FROM unnest($2::uuid[], $3::bytea[], $4::bytea[]) AS n(stream_id, old, new)
              WHERE s.stream_id = n.stream_id
                AND s.key = n.old",
        )
        .bind(key_no)
        .bind(stream)
        .bind(old)
        .bind(new)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        done += changed.rows_affected();
        told(done, all.unsigned_abs().max(done));
        sleep(pace.pause).await;
    }
}

/// Wraps the peppers of all projects anew; how many there were.
async fn peppers(
    control: &mut PgConnection,
    vault: &Vault,
    key_no: i16,
) -> Result<u64, StoreError> {
    let stored: Vec<(i32, Uuid, i16, Vec<u8>)> = sqlx::query_as(
        "SELECT project_no, schema_stream, pepper_key_no, pepper FROM projects WHERE pepper_key_no <> $1",
    )
    .bind(key_no)
    .fetch_all(&mut *control)
    .await?;
    let mut done = 0;
    for (project_no, schema_stream, old_no, wrapped) in stored {
        let about = schema_stream.as_bytes();
        let secret = vault.unwrap(about, old_no, &wrapped)?;
        let WrappedKey { key_no, bytes } = vault.wrap_under(key_no, about, &secret);
        done += sqlx::query(
            "UPDATE projects SET pepper_key_no = $2, pepper = $3 WHERE project_no = $1",
        )
        .bind(project_no)
        .bind(key_no)
        .bind(bytes)
        .execute(&mut *control)
        .await?
        .rows_affected();
    }
    Ok(done)
}

/// Waits until servers that have the new key wrap with it.
async fn wait_until_noticed(control: &mut PgConnection, key_no: i16) -> Result<(), StoreError> {
    let left: f64 = sqlx::query_scalar(
        "SELECT GREATEST(0, $2 - extract(epoch FROM clock_timestamp() - created_at))::float8
           FROM key_checks
          WHERE key_no = $1",
    )
    .bind(key_no)
    .bind(NOTICED)
    .fetch_one(control)
    .await?;
    sleep(Duration::from_secs_f64(left)).await;
    Ok(())
}

/// From here on the database refuses whatever is wrapped with an older key.
async fn demand(
    connection: &mut PgConnection,
    table: &str,
    column: &str,
    key_no: i16,
) -> Result<(), StoreError> {
    connection.execute(LOCK_WAIT).await?;
    let statement = format!(
        "ALTER TABLE {table}
            DROP CONSTRAINT IF EXISTS {table}_key_in_use,
             ADD CONSTRAINT {table}_key_in_use CHECK ({column} >= {key_no}) NOT VALID"
    );
    loop {
        match connection.execute(statement.as_str()).await {
            Err(error) if code_of(&error).as_deref() == Some(LOCKED) => sleep(LOOK).await,
            ended => return Ok(ended.map(|_| ())?),
        }
    }
}

/// Has the database look that nothing is wrapped with an older key.
async fn vouch(connection: &mut PgConnection, table: &str) -> Result<(), StoreError> {
    connection.execute("SET lock_timeout = 0").await?;
    let statement = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {table}_key_in_use");
    connection.execute(statement.as_str()).await?;
    Ok(())
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    Some(error.code()?.into_owned())
}
