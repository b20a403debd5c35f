//! Connections to outside sources: table `view_connections`. Everything else about one is read from its stream.

use std::collections::{BTreeMap, BTreeSet};

use roster_domain::connection::{ConnectionEvent, id_text};
use roster_domain::value::fold::fold;
use roster_store::Recorded;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::QueryError;
use crate::customers::write::storable;

/// Connections of a project and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionPage {
    /// Streams, in the order of the connections' names.
    pub connections: Vec<Uuid>,
    /// All of the project that match.
    pub total: i64,
}

/// A page of connections in the order of their names; `search` is part of a name. `page` counts from 1.
pub async fn list(
    pool: &PgPool,
    project_no: i32,
    provider: Option<&str>,
    search: Option<&str>,
    page: u32,
    page_size: u32,
) -> Result<ConnectionPage, QueryError> {
    const MATCH: &str = "WHERE project_no = $1
            AND ($2::text IS NULL OR provider = $2)
            AND ($3::text IS NULL OR strpos(name_folded, $3) > 0)";
    let search = search.map(fold);
    let total = sqlx::query_scalar(&format!("SELECT count(*) FROM view_connections {MATCH}"))
        .bind(project_no)
        .bind(provider)
        .bind(&search)
        .fetch_one(pool)
        .await?;
    let sql = format!(
        "SELECT connection_id FROM view_connections {MATCH} ORDER BY name_folded, connection_id LIMIT $4 OFFSET $5"
    );
    let connections = sqlx::query_scalar(&sql)
        .bind(project_no)
        .bind(provider)
        .bind(&search)
        .bind(i64::from(page_size))
        .bind(i64::from(page.saturating_sub(1)) * i64::from(page_size))
        .fetch_all(pool)
        .await?;
    Ok(ConnectionPage { connections, total })
}

/// The names of a project's connections by their public ids.
pub async fn names(pool: &PgPool, project_no: i32) -> Result<BTreeMap<String, String>, QueryError> {
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT connection_id, name FROM view_connections WHERE project_no = $1")
            .bind(project_no)
            .fetch_all(pool)
            .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|(id, name)| (id_text(id), name)).collect())
}

struct Saved {
    project_no: i32,
    position: i64,
    name: String,
    provider: String,
    at: roster_domain::Timestamp,
}

/// The connections that a page changes.
#[derive(Default)]
pub(crate) struct Connections {
    saved: BTreeMap<Uuid, Saved>,
    gone: BTreeSet<Uuid>,
}

impl Connections {
    pub(crate) fn is_empty(&self) -> bool {
        self.saved.is_empty() && self.gone.is_empty()
    }

    pub(crate) fn collect(&mut self, recorded: &Recorded, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Saved { at, settings, .. } => {
                // The first time stays.
                let at = self
                    .saved
                    .get(&recorded.stream)
                    .map_or(at, |before| before.at);
                let saved = Saved {
                    project_no: recorded.project_no,
                    position: recorded.position,
                    name: settings.name,
                    provider: settings.provider,
                    at,
                };
                self.saved.insert(recorded.stream, saved);
            }
            ConnectionEvent::Deleted { .. } => {
                self.saved.remove(&recorded.stream);
                self.gone.insert(recorded.stream);
            }
            ConnectionEvent::RunQueued { .. }
            | ConnectionEvent::CursorMoved { .. }
            | ConnectionEvent::RunFinished { .. } => {}
        }
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.gone.is_empty() {
            let gone: Vec<Uuid> = self.gone.iter().copied().collect();
            sqlx::query("DELETE FROM view_connections WHERE connection_id = ANY($1)")
                .bind(gone)
                .execute(&mut *connection)
                .await?;
        }
        for (id, saved) in &self.saved {
            sqlx::query(
                "INSERT INTO view_connections AS v (
                        connection_id,
                        project_no,
                        name,
                        name_folded,
                        provider,
                        created_at,
                        position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (connection_id) DO UPDATE
                    SET name = EXCLUDED.name,
                        name_folded = EXCLUDED.name_folded,
                        position = EXCLUDED.position
                  WHERE v.position <= EXCLUDED.position",
            )
            .bind(id)
            .bind(saved.project_no)
            .bind(storable(saved.name.clone()))
            .bind(fold(&saved.name))
            .bind(storable(saved.provider.clone()))
            .bind(saved.at.to_utc())
            .bind(saved.position)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
