//! The schema in effect of each project: table `view_schemas`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::schema::{Definition, SchemaEvent};
use roster_store::Recorded;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::QueryError;

/// A schema in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRow {
    /// Its version, from 1.
    pub version: i32,
    /// The definition.
    pub definition: Definition,
    /// When it took effect.
    pub updated_at: Timestamp,
}

/// The schema of a project; `None` where the default one is in effect.
pub async fn get(pool: &PgPool, project_no: i32) -> Result<Option<SchemaRow>, QueryError> {
    let row = sqlx::query(
        "SELECT version,
                definition::text AS definition,
                updated_at
           FROM view_schemas
          WHERE project_no = $1",
    )
    .bind(project_no)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(SchemaRow {
            version: row.try_get("version")?,
            definition: serde_json::from_str(row.try_get("definition")?)
                .map_err(|_| QueryError::Malformed)?,
            updated_at: row.try_get::<DateTime<Utc>, _>("updated_at")?.into(),
        })
    })
    .transpose()
}

struct Pending {
    stream: Uuid,
    position: i64,
    version: i32,
    definition: Definition,
    at: Timestamp,
}

/// The schemas that a page puts in effect.
#[derive(Default)]
pub(crate) struct Schemas(BTreeMap<i32, Pending>);

impl Schemas {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn collect(&mut self, recorded: &Recorded, event: SchemaEvent) {
        if let SchemaEvent::Replaced {
            at,
            version,
            definition,
            preparation_id: _,
        } = event
        {
            let (stream, position) = (recorded.stream, recorded.position);
            self.0.insert(
                recorded.project_no,
                Pending {
                    stream,
                    position,
                    version,
                    definition,
                    at,
                },
            );
        }
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (project_no, pending) in &self.0 {
            sqlx::query(
                "INSERT INTO view_schemas AS v (project_no, stream_id, version, definition, updated_at, position)
                 VALUES ($1, $2, $3, $4::text::json, $5, $6)
                     ON CONFLICT (project_no) DO UPDATE
                    SET stream_id = EXCLUDED.stream_id,
                        version = EXCLUDED.version,
                        definition = EXCLUDED.definition,
                        updated_at = EXCLUDED.updated_at,
                        position = EXCLUDED.position
                  WHERE v.position <= EXCLUDED.position",
            )
            .bind(project_no)
            .bind(pending.stream)
            .bind(pending.version)
            .bind(pending.definition.to_json())
            .bind(pending.at.to_utc())
            .bind(pending.position)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
