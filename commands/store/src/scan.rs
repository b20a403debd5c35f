//! The log without its contents: where events stand, whose they are and of which type. Nothing is opened.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Cell, Recorded, StoreError};

/// One event without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Heading {
    /// Its place in the log, from 1.
    pub position: i64,
    /// When it was appended, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// Its stream.
    #[sqlx(rename = "stream_id")]
    pub stream: Uuid,
    /// The project.
    pub project_no: i32,
    /// The type.
    pub type_no: i16,
    /// The shape of the type.
    pub type_version: i16,
}

impl Heading {
    /// Of an event that was read whole.
    pub fn of(recorded: &Recorded) -> Self {
        Self {
            position: recorded.position,
            recorded_at: recorded.recorded_at,
            stream: recorded.stream,
            project_no: recorded.project_no,
            type_no: recorded.type_no,
            type_version: recorded.type_version,
        }
    }

    /// The public name of its type, unless this build does not know it.
    pub fn name(&self) -> Option<&'static str> {
        roster_domain::registry::name_of(self.type_no, self.type_version)
    }
}

/// What a stream is to a copy of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no such stream.
    Absent,
    /// It goes on: its kind.
    Open(i16),
    /// It ended for ever, and its key is destroyed.
    Closed,
}

impl Cell {
    /// Where the events after a position stand, in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Hole`] where a position is missing.
    pub async fn read_headings(&self, after: i64, limit: i64) -> Result<Vec<Heading>, StoreError> {
        if let Some(recent) = self.recent().headings(after, limit) {
            return Ok(recent);
        }
        let page: Vec<Heading> = sqlx::query_as(
            "SELECT position, recorded_at, stream_id, project_no, type_no, type_version
               FROM log_events
              WHERE position > $1
              ORDER BY position
              LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        match (after + 1..)
            .zip(&page)
            .find(|(expected, found)| *expected != found.position)
        {
            Some((expected, found)) => Err(StoreError::Hole {
                expected,
                found: found.position,
            }),
            None => Ok(page),
        }
    }

    /// What streams are to this log, in the order asked.
    pub async fn standings(&self, streams: &[Uuid]) -> Result<Vec<Standing>, StoreError> {
        let rows: Vec<(Option<i16>, Option<i16>)> = sqlx::query_as(
            "SELECT s.kind, s.flags
               FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted(stream_id, ord)
               LEFT JOIN LATERAL (SELECT * FROM log_streams o WHERE o.stream_id = wanted.stream_id OFFSET 0) s ON true
              ORDER BY wanted.ord",
        )
        .bind(streams)
        .fetch_all(self.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| match row {
                (Some(_), Some(flags)) if flags & 1 == 1 => Standing::Closed,
                (Some(kind), _) => Standing::Open(kind),
                (None, _) => Standing::Absent,
            })
            .collect())
    }
}
