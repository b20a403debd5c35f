//! Connections to outside sources: table `view_connections`. Everything else about one is read from its stream.

use std::collections::{BTreeMap, BTreeSet};

use roster_domain::Timestamp;
use roster_domain::connection::{ConnectionEvent, id_text};
use roster_domain::value::fold::fold;
use roster_store::Recorded;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::QueryError;
use crate::customers::Cursor;
use crate::customers::write::storable;
use crate::paging::{Kind, Paging};

/// Connections of a project and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionPage {
    /// Streams, in the order of the connections' names.
    pub connections: Vec<Uuid>,
    /// All of the project that match.
    pub total: i64,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// A page of connections in the order of their names; `search` is part of a name.
///
/// # Errors
/// [`QueryError::InvalidCursor`] for a cursor of another list.
pub async fn list(
    pool: &PgPool,
    project_no: i32,
    provider: Option<&str>,
    search: Option<&str>,
    paging: &Paging,
) -> Result<ConnectionPage, QueryError> {
    const MATCH: &str = "WHERE project_no = $1
            AND ($2::text IS NULL OR provider = $2)
            AND ($3::text IS NULL OR strpos(name_folded, $3) > 0)";
    let search = search.map(fold);
    let kind = Kind::new("connections", project_no, &[provider, search.as_deref()]);
    let after = paging.key(&kind)?.map(|key| placed(&key.id)).transpose()?;
    let (name, id) = after.unzip();
    let total = sqlx::query_scalar(&format!("SELECT count(*) FROM view_connections {MATCH}"))
        .bind(project_no)
        .bind(provider)
        .bind(&search)
        .fetch_one(pool)
        .await?;
    let sql = format!(
        "SELECT connection_id, name_folded
           FROM view_connections {MATCH} AND ($6::text IS NULL OR (name_folded, connection_id) > ($6, $7))
          ORDER BY name_folded, connection_id
          LIMIT $4 OFFSET $5"
    );
    let mut rows: Vec<(Uuid, String)> = sqlx::query_as(&sql)
        .bind(project_no)
        .bind(provider)
        .bind(&search)
        .bind(paging.limit())
        .bind(paging.offset())
        .bind(name)
        .bind(id)
        .fetch_all(pool)
        .await?;
    let next = paging.next(&mut rows, |(id, name)| {
        kind.cursor(Timestamp(0), format!("{id}{name}"))
    });
    Ok(ConnectionPage {
        connections: rows.into_iter().map(|(id, _)| id).collect(),
        total,
        next,
    })
}

/// The name and the id of the connection that a page ended with.
fn placed(key: &str) -> Result<(&str, Uuid), QueryError> {
    let (id, name) = key
        .split_at_checked(Hyphenated::LENGTH)
        .ok_or(QueryError::InvalidCursor)?;
    let id = Uuid::try_parse(id).map_err(|_| QueryError::InvalidCursor)?;
    Ok((name, id))
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
