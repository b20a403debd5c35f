//! Reading the log without opening anything that is sealed: what may leave this system.
//!
//! [`Cell::read_page`] opens events for those who may see people. Here only the open parts and the digest are read, so that
//! whoever hands them on cannot hand on more, and no key is touched.

use chrono::{DateTime, Utc};
use roster_domain::event::StoredEvent;
use roster_domain::meta::Meta;
use roster_domain::registry;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::sealing::split;
use crate::{Cell, StoreError};

/// The open part of one event of the log.
#[derive(Clone, Debug)]
pub struct OpenEvent {
    /// Its place in the log, from 1.
    pub position: i64,
    /// When it was appended, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// Its stream.
    pub stream: Uuid,
    /// Its place in the stream, from 1.
    pub version: i32,
    /// The project.
    pub project_no: i32,
    /// The type.
    pub type_no: i16,
    /// The shape of the type.
    pub type_version: i16,
    /// SHA-256 over everything that the log has of it, 32 bytes.
    pub digest: Vec<u8>,
    payload: Vec<u8>,
    meta: Vec<u8>,
}

impl OpenEvent {
    /// The event as it is after an erasure: whatever is about a person is missing.
    pub fn decode<E: StoredEvent>(&self) -> Result<E, StoreError> {
        E::decode(self.type_no, self.type_version, &self.payload, None).map_err(|source| {
            StoreError::Decode {
                position: self.position,
                source,
            }
        })
    }

    /// What caused it, without the subject of a token.
    pub fn meta(&self) -> Result<Meta, StoreError> {
        Meta::decode(&self.meta, None).ok_or(StoreError::Malformed("event meta"))
    }

    /// The public name of its type, unless this build does not know it.
    pub fn name(&self) -> Option<&'static str> {
        registry::name_of(self.type_no, self.type_version)
    }
}

impl Cell {
    /// The open parts of the events after a position in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Hole`] where a position is missing, as in [`Cell::read_page`].
    pub async fn read_open_page(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<OpenEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, recorded_at, stream_id, version, project_no, type_no, type_version, meta, payload, digest
               FROM log_events
              WHERE position > $1
              ORDER BY position
              LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        let mut page = Vec::with_capacity(rows.len());
        for (expected, row) in (after + 1..).zip(&rows) {
            let event = open(row)?;
            if event.position != expected {
                return Err(StoreError::Hole {
                    expected,
                    found: event.position,
                });
            }
            page.push(event);
        }
        if let Some(last) = page.last() {
            self.saw(last.position);
        }
        Ok(page)
    }
}

fn open(row: &PgRow) -> Result<OpenEvent, StoreError> {
    let (payload, _) = split(row.try_get("payload")?)?;
    let (meta, _) = split(row.try_get("meta")?)?;
    Ok(OpenEvent {
        position: row.try_get("position")?,
        recorded_at: row.try_get("recorded_at")?,
        stream: row.try_get("stream_id")?,
        version: row.try_get("version")?,
        project_no: row.try_get("project_no")?,
        type_no: row.try_get("type_no")?,
        type_version: row.try_get("type_version")?,
        digest: row.try_get("digest")?,
        payload: payload.to_vec(),
        meta: meta.to_vec(),
    })
}
