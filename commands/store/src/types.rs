//! The shapes that ever wrote to this log, checked at start.

use std::collections::HashMap;

use sqlx::PgPool;

use crate::StoreError;

/// Adds this build's shapes to `log_types` and refuses a log that was written with another form of one of them.
pub(crate) async fn check(pool: &PgPool) -> Result<(), StoreError> {
    let stored: Vec<(i16, i16, String, String)> =
        sqlx::query_as("SELECT type_no, type_version, name, fingerprint FROM log_types")
            .fetch_all(pool)
            .await?;
    let stored: HashMap<(i16, i16), (String, String)> = stored
        .into_iter()
        .map(|(no, version, name, fingerprint)| ((no, version), (name, fingerprint)))
        .collect();
    for built in roster_domain::registry::all() {
        let event_type = built.event_type;
        match stored.get(&(event_type.type_no, event_type.type_version)) {
            Some((name, fingerprint))
                if name == event_type.name && *fingerprint == built.fingerprint => {}
            Some((name, fingerprint)) => {
                return Err(StoreError::TypeMismatch {
                    name: name.clone(),
                    type_version: event_type.type_version,
                    stored: fingerprint.clone(),
                    built: built.fingerprint,
                });
            }
            None => {
                sqlx::query(
                    "INSERT INTO log_types (type_no, type_version, name, fingerprint)
                     VALUES ($1, $2, $3, $4)
                         ON CONFLICT DO NOTHING",
                )
                .bind(event_type.type_no)
                .bind(event_type.type_version)
                .bind(event_type.name)
                .bind(&built.fingerprint)
                .execute(pool)
                .await?;
            }
        }
    }
    Ok(())
}
