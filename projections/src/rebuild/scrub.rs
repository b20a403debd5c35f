//! Erasure reaches the tables beside the live ones too: those of a roll-back, and those that a rebuild left behind.

use sqlx::{Executor, PgPool};
use uuid::Uuid;

use super::{NEXT, OLD, TURN};
use crate::runner::Projection;

/// Takes every personal value of these streams out of a projection's other tables, if there are any.
///
/// Called before the erasure is applied to the live ones: an answered erasure has reached both. The old tables are nobody
/// else's, so this waits for nothing; the next ones may be at their indexes, and catch up with the erasure by themselves.
pub(crate) async fn scrub<P: Projection>(pool: &PgPool, streams: &[Uuid]) -> sqlx::Result<()> {
    if P::SCRUB.is_empty() {
        return Ok(());
    }
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT nspname::text
           FROM pg_namespace
          WHERE nspname = ANY (ARRAY[current_schema() || $1, current_schema() || $2]::name[])",
    )
    .bind(format!("{OLD}{}", P::NAME))
    .bind(format!("{NEXT}{}", P::NAME))
    .fetch_all(pool)
    .await?;
    for schema in schemas {
        if schema.contains(NEXT) && is_left_behind::<P>(pool, &schema).await? {
            continue;
        }
        for (table, change) in P::SCRUB {
            let scrubbed = change_rows(pool, &format!("{schema}.{table}"), change, streams).await;
            match scrubbed {
                Err(error) if !is_gone(&error) && !schema.contains(NEXT) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a rebuild was killed and left these tables behind. Nobody catches up with an erasure there, so they are emptied.
async fn is_left_behind<P: Projection>(pool: &PgPool, schema: &str) -> sqlx::Result<bool> {
    let mut transaction = pool.begin().await?;
    let sql = format!("SELECT pg_try_advisory_xact_lock({TURN})");
    let is_left: bool = sqlx::query_scalar(&sql)
        .bind(P::NAME)
        .fetch_one(&mut *transaction)
        .await?;
    if !is_left {
        return Ok(false);
    }
    let tables: Vec<String> = P::SCRUB
        .iter()
        .map(|(table, _)| format!("{schema}.{table}"))
        .collect();
    let sql = format!("TRUNCATE {}", tables.join(", "));
    match transaction.execute(sql.as_str()).await {
        Ok(_) => {}
        // It was dropped, or died before it had all of its tables.
        Err(error) if is_gone(&error) => return Ok(true),
        Err(error) => return Err(error),
    }
    transaction.commit().await?;
    Ok(true)
}

async fn change_rows(
    pool: &PgPool,
    table: &str,
    change: &str,
    streams: &[Uuid],
) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    transaction
        .execute("SET LOCAL lock_timeout = '100ms'")
        .await?;
    let sql = change.replace("{table}", table);
    sqlx::query(&sql)
        .bind(streams)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Whether the tables were dropped or swapped meanwhile: undefined table or schema.
fn is_gone(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["42P01", "3F000"].contains(&code.as_ref()))
}
