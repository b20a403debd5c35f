//! Reading the log. There is one function for pages: it opens what is sealed and refuses a hole.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use roster_domain::event::StoredEvent;
use roster_domain::meta::Meta;
use roster_domain::stream::Stream;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::copied::{self, fixed};
use crate::prepared::{Plain, Prepared};
use crate::sealing::{About, Part, split};
use crate::vault::DataKey;
use crate::{Cell, StoreError};

/// Bytes that the state of a customer with a dozen fields takes in memory, roughly.
const STATE_SIZE: usize = 1_500;

/// One event of the log, opened.
#[derive(Clone)]
pub struct Recorded {
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
    plain: Arc<Plain>,
    /// The state before it, of what this server wrote itself: see [`Recorded::state_before`].
    before: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorded")
            .field("position", &self.position)
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("type_no", &self.type_no)
            .finish_non_exhaustive()
    }
}

impl Recorded {
    /// The event; parts whose key is gone are erased.
    pub fn decode<E: StoredEvent>(&self) -> Result<E, StoreError> {
        E::decode(
            self.type_no,
            self.type_version,
            &self.plain.open,
            self.plain.personal.as_deref(),
        )
        .map_err(|source| StoreError::Decode {
            position: self.position,
            source,
        })
    }

    /// Who caused it.
    pub fn meta(&self) -> Result<Meta, StoreError> {
        Meta::decode(&self.plain.meta_open, self.plain.subject.as_deref())
            .ok_or(StoreError::Malformed("event meta"))
    }

    /// The events of an accepted command, whose first one is at a position.
    pub(crate) fn committed(
        command: Prepared,
        first: i64,
        recorded_at: DateTime<Utc>,
    ) -> impl Iterator<Item = Self> {
        let places = (first..).zip(command.expected + 1..);
        let mut before = command.before;
        places
            .zip(command.events)
            .map(move |((position, version), event)| Self {
                position,
                recorded_at,
                stream: command.stream,
                version,
                project_no: command.project_no,
                type_no: event.type_no,
                type_version: event.type_version,
                plain: event.plain,
                before: before.take(),
            })
    }

    /// The state that the command of this event was decided on, where this is its first event and this server wrote it a
    /// moment ago; a stream that begins has none, nor has one that ends.
    pub fn state_before<A: Stream + 'static>(&self) -> Option<&A> {
        self.before.as_ref()?.downcast_ref()
    }

    /// Drops what was sealed.
    pub(crate) fn erase(&mut self) {
        let plain = Arc::make_mut(&mut self.plain);
        plain.personal = None;
        plain.subject = None;
        self.before = None;
    }

    /// Bytes that it takes in memory, roughly.
    pub(crate) fn size(&self) -> usize {
        let plain = &self.plain;
        let personal = plain.personal.as_ref().map_or(0, Vec::len)
            + plain.subject.as_ref().map_or(0, Vec::len);
        let before = self.before.as_ref().map_or(0, |_| STATE_SIZE);
        plain.open.len() + plain.meta_open.len() + personal + before + 200
    }

    /// The public name of its type, unless this build does not know it.
    pub fn name(&self) -> Option<&'static str> {
        roster_domain::registry::name_of(self.type_no, self.type_version)
    }
}

/// What [`Stored::of`] reads, in this order.
pub(crate) const COLUMNS: &str = "e.position, e.recorded_at, e.stream_id, e.version, e.project_no, e.type_no, e.type_version, \
                       e.meta, e.payload, s.key_no, s.key";

/// The same columns without a key.
const CLOSED: &str = "e.position, e.recorded_at, e.stream_id, e.version, e.project_no, e.type_no, e.type_version, \
                      e.meta, e.payload, NULL::smallint AS key_no, NULL::bytea AS key";

/// Streams whose ids follow each other, with their keys.
#[derive(Debug)]
pub struct Streams {
    after: Uuid,
    last: Uuid,
    /// Wrapped.
    keys: HashMap<Uuid, (i16, Vec<u8>)>,
}

impl Streams {
    /// The id of the last one.
    pub fn last(&self) -> Uuid {
        self.last
    }
}

impl Cell {
    /// The last position of the log; 0 where it is empty.
    pub async fn head_position(&self) -> Result<i64, StoreError> {
        let head: Option<i64> = sqlx::query_scalar(
            "SELECT last_position FROM log_batches ORDER BY last_position DESC LIMIT 1",
        )
        .fetch_optional(self.pool())
        .await?;
        Ok(head.unwrap_or_default())
    }

    /// The last position and the digest of the newest batch; `None` where the log is empty.
    pub(crate) async fn last_batch(&self) -> Result<Option<(i64, [u8; 32])>, StoreError> {
        let last: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT last_position, digest FROM log_batches ORDER BY last_position DESC LIMIT 1",
        )
        .fetch_optional(self.pool())
        .await?;
        last.map(|(position, digest)| Ok((position, digest_of(&digest)?)))
            .transpose()
    }

    /// The digest of the batch that ends at a position.
    pub(crate) async fn batch_digest(&self, position: i64) -> Result<Option<[u8; 32]>, StoreError> {
        let digest: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT digest FROM log_batches WHERE last_position = $1")
                .bind(position)
                .fetch_optional(self.pool())
                .await?;
        digest.map(|digest| digest_of(&digest)).transpose()
    }

    /// Which life of the log this is, from 1; a restore of the database begins the next.
    pub async fn epoch(&self) -> Result<i32, StoreError> {
        let epoch = sqlx::query_scalar("SELECT epoch FROM log_epoch")
            .fetch_one(self.pool())
            .await?;
        Ok(self.note_epoch(epoch))
    }

    /// The events after a position in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Hole`] where a position is missing: commit order is position order, so a gap is never "not yet".
    pub async fn read_page(&self, after: i64, limit: i64) -> Result<Vec<Recorded>, StoreError> {
        if let Some(recent) = self.recent().after(after, limit) {
            return Ok(recent);
        }
        let sql = format!(
            "SELECT {COLUMNS}
               FROM (SELECT * FROM log_events WHERE position > $1 ORDER BY position LIMIT $2) e
               CROSS JOIN LATERAL (SELECT o.key_no, o.key FROM log_streams o WHERE o.stream_id = e.stream_id OFFSET 0) s
              ORDER BY e.position"
        );
        self.page(&sql, after, limit).await
    }

    /// The same without opening anything: every personal part reads as erased, whether it is or not.
    pub async fn read_page_closed(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        if let Some(mut recent) = self.recent().after(after, limit) {
            recent.iter_mut().for_each(Recorded::erase);
            return Ok(recent);
        }
        let sql = format!(
            "SELECT {CLOSED} FROM log_events e WHERE e.position > $1 ORDER BY e.position LIMIT $2"
        );
        self.page(&sql, after, limit).await
    }

    async fn page(&self, sql: &str, after: i64, limit: i64) -> Result<Vec<Recorded>, StoreError> {
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(limit)
            .fetch_all(self.pool())
            .await?;
        let mut page = Vec::with_capacity(rows.len());
        for (expected, row) in (after + 1..).zip(&rows) {
            let recorded = self.recorded(row)?;
            if recorded.position != expected {
                return Err(StoreError::Hole {
                    expected,
                    found: recorded.position,
                });
            }
            page.push(recorded);
        }
        if let Some(last) = page.last() {
            self.saw(last.position);
        }
        Ok(page)
    }

    /// The events at these positions, opened, in no order.
    pub async fn read_positions(&self, positions: &[i64]) -> Result<Vec<Recorded>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}
               FROM log_events e
               CROSS JOIN LATERAL (SELECT o.key_no, o.key FROM log_streams o WHERE o.stream_id = e.stream_id OFFSET 0) s
              WHERE e.position = ANY ($1)"
        );
        let rows = sqlx::query(&sql)
            .bind(positions)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| self.recorded(row)).collect()
    }

    /// The last position that was recorded at a time or before it, found by halving; 0 where the log begins later.
    pub async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(
            "WITH RECURSIVE search (low, high) AS (
                 SELECT 0::bigint,
                        COALESCE((SELECT last_position FROM log_batches ORDER BY last_position DESC LIMIT 1), 0)
                 UNION ALL
                 SELECT CASE WHEN found.earlier THEN middle.position ELSE s.low END,
                        CASE WHEN found.earlier THEN s.high ELSE middle.position - 1 END
                   FROM search s
                  CROSS JOIN LATERAL (SELECT (s.low + s.high + 1) / 2 AS position) middle
                  CROSS JOIN LATERAL (
                        SELECT e.recorded_at <= $1 AS earlier
                          FROM log_events e
                         WHERE e.position = middle.position) found
                  WHERE s.low < s.high
             )
             SELECT low
               FROM search
              WHERE low = high",
        )
        .bind(time)
        .fetch_one(self.pool())
        .await?)
    }

    /// The events of one stream after a version, in order.
    pub async fn read_stream(&self, stream: Uuid, after: i32) -> Result<Vec<Recorded>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}
               FROM log_events e
               CROSS JOIN LATERAL (SELECT o.key_no, o.key FROM log_streams o WHERE o.stream_id = e.stream_id OFFSET 0) s
              WHERE e.stream_id = $1 AND e.version > $2
              ORDER BY e.version"
        );
        let rows = sqlx::query(&sql)
            .bind(stream)
            .bind(after)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| self.recorded(row)).collect()
    }

    /// The next streams in the order of their ids; `None` after the last one.
    pub async fn next_streams(
        &self,
        after: Uuid,
        streams: i64,
    ) -> Result<Option<Streams>, StoreError> {
        let rows: Vec<(Uuid, Option<i16>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT stream_id, key_no, key FROM log_streams WHERE stream_id > $1 ORDER BY stream_id LIMIT $2",
        )
        .bind(after)
        .bind(streams)
        .fetch_all(self.pool())
        .await?;
        let Some((last, ..)) = rows.last() else {
            return Ok(None);
        };
        Ok(Some(Streams {
            after,
            last: *last,
            keys: rows
                .into_iter()
                .filter_map(|(stream, key_no, key)| Some((stream, (key_no?, key?))))
                .collect(),
        }))
    }

    /// The events of some streams up to a position, each stream whole and in order. Their keys are those of the moment when
    /// the streams were asked for.
    pub async fn read_streams(
        &self,
        streams: &Streams,
        up_to: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        // A copy, whose rows cost half as much here as those of a query.
        let sql = format!(
            "SELECT e.position, e.recorded_at, e.stream_id, e.version, e.project_no, e.type_no, e.type_version, e.meta, e.payload
               FROM log_events e
              WHERE e.stream_id > '{}'
                AND e.stream_id <= '{}'
                AND e.position + 0 <= {up_to}
              ORDER BY e.stream_id, e.version",
            streams.after, streams.last
        );
        let mut connection = self.pool().acquire().await?;
        let mut events = Vec::with_capacity(streams.keys.len());
        let mut blocks = std::pin::pin!(copied::read(&mut connection, &sql).await?);
        while let Some(block) = blocks.try_next().await? {
            copied::rows(&block, |columns| {
                let stored = Stored::copied(columns)?;
                let key = streams.keys.get(&stored.stream);
                let key = key.map(|(key_no, key)| (*key_no, key.as_slice()));
                events.push(self.opened(&stored, key)?);
                Ok(())
            })?;
        }
        Ok(events)
    }

    /// The events of some streams before a position.
    pub(crate) async fn read_before(
        &self,
        streams: &[Uuid],
        before: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}
               FROM log_events e
               CROSS JOIN LATERAL (SELECT o.key_no, o.key FROM log_streams o WHERE o.stream_id = e.stream_id OFFSET 0) s
              WHERE e.stream_id = ANY($1) AND e.position < $2
              ORDER BY e.position"
        );
        let rows = sqlx::query(&sql)
            .bind(streams)
            .bind(before)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| self.recorded(row)).collect()
    }

    pub(crate) fn recorded(&self, row: &PgRow) -> Result<Recorded, StoreError> {
        let key: Option<&[u8]> = row.try_get(KEY)?;
        let key_no: Option<i16> = row.try_get(KEY_NO)?;
        let key = key.map(|key| (key_no.unwrap_or_default(), key));
        self.opened(&Stored::of(row)?, key)
    }

    /// An event, opened with its stream's wrapped key.
    fn opened(
        &self,
        stored: &Stored<'_>,
        key: Option<(i16, &[u8])>,
    ) -> Result<Recorded, StoreError> {
        let about = |part| About {
            project_no: stored.project_no,
            stream: stored.stream,
            version: stored.version,
            type_no: stored.type_no,
            type_version: stored.type_version,
            part,
        };
        let (open, sealed) = split(stored.payload)?;
        let (meta_open, sealed_subject) = split(stored.meta)?;
        let key = match key {
            Some((key_no, wrapped)) if !(sealed.is_empty() && sealed_subject.is_empty()) => {
                Some(self.vault().open_key(stored.stream, key_no, wrapped)?)
            }
            _ => None,
        };
        let unseal = |key: &Option<DataKey>, part, sealed: &[u8]| match key {
            Some(key) if !sealed.is_empty() => about(part).open(key, sealed).map(Some),
            _ => Ok(None),
        };
        Ok(Recorded {
            position: stored.position,
            recorded_at: stored.recorded_at,
            stream: stored.stream,
            version: stored.version,
            project_no: stored.project_no,
            type_no: stored.type_no,
            type_version: stored.type_version,
            before: None,
            plain: Arc::new(Plain {
                open: open.to_vec(),
                personal: unseal(&key, Part::Payload, sealed)?,
                meta_open: meta_open.to_vec(),
                subject: unseal(&key, Part::Subject, sealed_subject)?,
            }),
        })
    }
}

/// The places of a stream's key in [`COLUMNS`].
const KEY_NO: usize = 9;
const KEY: usize = 10;

/// An event as it is stored.
struct Stored<'a> {
    position: i64,
    recorded_at: DateTime<Utc>,
    stream: Uuid,
    version: i32,
    project_no: i32,
    type_no: i16,
    type_version: i16,
    meta: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Of a row of [`COLUMNS`]. By place: a look-up of each name would cost as much as the rest.
    fn of(row: &'a PgRow) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.try_get(0)?,
            recorded_at: row.try_get(1)?,
            stream: row.try_get(2)?,
            version: row.try_get(3)?,
            project_no: row.try_get(4)?,
            type_no: row.try_get(5)?,
            type_version: row.try_get(6)?,
            meta: row.try_get(7)?,
            payload: row.try_get(8)?,
        })
    }

    /// Of the same columns in a copy.
    fn copied(
        [
            position,
            at,
            stream,
            version,
            project_no,
            type_no,
            type_version,
            meta,
            payload,
        ]: [Option<&'a [u8]>; 9],
    ) -> Result<Self, StoreError> {
        let since_2000 = i64::from_be_bytes(fixed(at)?);
        Ok(Self {
            position: i64::from_be_bytes(fixed(position)?),
            recorded_at: DateTime::from_timestamp_micros(since_2000 + TO_2000)
                .ok_or(StoreError::Malformed("copied time"))?,
            stream: Uuid::from_bytes(fixed(stream)?),
            version: i32::from_be_bytes(fixed(version)?),
            project_no: i32::from_be_bytes(fixed(project_no)?),
            type_no: i16::from_be_bytes(fixed(type_no)?),
            type_version: i16::from_be_bytes(fixed(type_version)?),
            meta: meta.unwrap_or_default(),
            payload: payload.unwrap_or_default(),
        })
    }
}

/// Microseconds from 1970 to 2000, which Postgres counts from.
const TO_2000: i64 = 946_684_800_000_000;

fn digest_of(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Malformed("digest of a batch"))
}
