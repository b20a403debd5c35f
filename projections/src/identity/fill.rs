//! Reads the memory from the read tables: everything of one snapshot, at the position that the directory had reached.
//!
//! What the tables say of streams that the directory leaves out is old, and may allow what was revoked since. These are folded
//! from the log.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use roster_domain::Timestamp;
use roster_domain::access::Terms;
use roster_domain::customer::{Customer, CustomerEvent};
use roster_domain::event::{EventType, StoredEvent};
use roster_domain::schema::Definition;
use roster_domain::value::{Profile, Value, profile_from_json};
use roster_store::copied::{self, fixed, rows};
use roster_store::{Cell, Recorded, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row, Transaction};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::memory::{CustomerRow, Drawer, Drawn, IdentityRow, Refill, Unread, Writer};
use crate::directory::Directory;
use crate::parked;
use crate::runner::Projection;

const CUSTOMERS: &str = "SELECT project_no, stream_id, customer_user_id, enabled, \
     NULLIF(connector_enabled, '{}')::text, profile::text FROM view_customers";
const ROWS: &str = "SELECT c.project_no, c.stream_id, c.customer_user_id, c.enabled, \
     NULLIF(c.connector_enabled, '{}')::text, c.profile::text FROM unnest($1::uuid[]) AS w(stream_id) \
     CROSS JOIN LATERAL (SELECT * FROM view_customers v WHERE v.stream_id = w.stream_id OFFSET 0) c \
     WHERE NOT EXISTS (SELECT FROM view_parked p WHERE p.projection = 'directory' AND p.stream_id = w.stream_id)";
const LINKS: &str = "SELECT project_no, channel, external_user_id, stream_id FROM view_identities";
const BLOCKS: &str = "SELECT project_no, channel, external_user_id, stream_id FROM view_blocks";
const GRANTS: &str = "SELECT project_no, channel, external_user_id, stream_id, array_to_json(agents)::text, enabled, \
     (extract(epoch FROM expires_at) * 1000000)::bigint FROM view_grants";

/// What a block of rows is, beside customers.
#[derive(Clone, Copy)]
enum Table {
    Links,
    Blocks,
    Grants,
}

/// The streams that the directory leaves out.
type LeftOut = Arc<HashSet<Uuid>>;

/// A memory that was filled.
pub(super) struct Filled {
    /// What it is of.
    pub(super) position: i64,
    /// What it lacks.
    pub(super) refills: Vec<Refill>,
}

/// Fills an empty memory; `None` where the directory is of another version.
pub(super) async fn fill(
    cell: &Cell,
    mut writer: Writer,
) -> Result<(Writer, Option<Filled>), StoreError> {
    let mut snapshot = whole(cell).await?;
    let Some(position) = position(&mut snapshot).await? else {
        return Ok((writer, None));
    };
    let left_out = left_out(&mut snapshot).await?;
    let schemas = sqlx::query("SELECT project_no, version, definition::text FROM view_schemas")
        .fetch_all(&mut *snapshot)
        .await?;
    for row in schemas {
        let definition: Definition = serde_json::from_str(row.try_get(2)?)
            .map_err(|_| StoreError::Malformed("stored schema"))?;
        writer.load_schema(row.try_get(0)?, definition, row.try_get(1)?);
    }
    for (table, select) in [
        (Table::Links, LINKS),
        (Table::Blocks, BLOCKS),
        (Table::Grants, GRANTS),
    ] {
        let mut blocks = std::pin::pin!(copied::read(&mut snapshot, select).await?);
        writer = load(table, writer, &mut blocks, &left_out).await?;
    }
    writer = load_customers(writer, &mut snapshot, &left_out).await?;
    writer.loaded();
    snapshot.commit().await?;
    let mut refills = Vec::new();
    for stream in left_out.iter() {
        let events = events(cell, *stream, position).await?;
        match writer.apply(&events) {
            Ok(more) => refills.extend(more),
            Err(error) => {
                // Whom this build cannot read is found by nobody, so the project is left to the tables, which leave them out.
                let project_no = events.first().map_or(0, |first| first.project_no);
                tracing::warn!(project_no, %stream, %error, "a stream is not read for identities");
                writer.leave_out(project_no);
            }
        }
    }
    Ok((writer, Some(Filled { position, refills })))
}

async fn left_out(snapshot: &mut PgConnection) -> Result<LeftOut, StoreError> {
    Ok(Arc::new(parked::streams(snapshot, Directory::NAME).await?))
}

/// What happened on a stream up to a position.
async fn events(cell: &Cell, stream: Uuid, position: i64) -> Result<Vec<Recorded>, StoreError> {
    let mut events = cell.read_stream(stream, 0).await?;
    events.retain(|recorded| recorded.position <= position);
    Ok(events)
}

/// Loads blocks beside the reading.
async fn load(
    table: Table,
    mut writer: Writer,
    blocks: &mut (impl Stream<Item = Result<Vec<u8>, StoreError>> + Unpin),
    left_out: &LeftOut,
) -> Result<Writer, StoreError> {
    let mut block = blocks.try_next().await?;
    while let Some(read) = block {
        let left_out = Arc::clone(left_out);
        let loading = spawn_blocking(move || {
            load_block(table, &mut writer, &read, &left_out)?;
            Ok::<_, StoreError>(writer)
        });
        let next = blocks.try_next().await;
        // Whoever is told of a failure empties the memory, so nobody may write to it any more.
        writer = loading.await.map_err(|_| StoreError::Closed)??;
        block = next?;
    }
    Ok(writer)
}

/// Loads blocks of customers: while one is read, the one before is drawn, and what was drawn of the one before that is written.
async fn load_customers(
    mut writer: Writer,
    snapshot: &mut PgConnection,
    left_out: &LeftOut,
) -> Result<Writer, StoreError> {
    let mut blocks = std::pin::pin!(copied::read(snapshot, CUSTOMERS).await?);
    let drawer = Arc::new(writer.expected());
    let mut block = blocks.try_next().await?;
    let mut drawn = None;
    while block.is_some() || drawn.is_some() {
        let (ready, read) = (drawn.take(), block.take());
        let writing = spawn_blocking(move || {
            if let Some(ready) = ready {
                writer.load_drawn(&ready)?;
            }
            Ok::<_, StoreError>(writer)
        });
        let (own, left_out) = (Arc::clone(&drawer), Arc::clone(left_out));
        let drawing =
            spawn_blocking(move || read.map(|read| draw(&own, &read, &left_out)).transpose());
        let next = blocks.try_next().await;
        // Whoever is told of a failure empties the memory, so nobody may write to it any more.
        let written = writing.await;
        drawn = drawing.await.map_err(|_| StoreError::Closed)??;
        writer = written.map_err(|_| StoreError::Closed)??;
        block = next?;
    }
    Ok(writer)
}

fn draw(drawer: &Drawer, block: &[u8], left_out: &HashSet<Uuid>) -> Result<Drawn, StoreError> {
    let mut drawn = Drawn::default();
    rows::<6>(
        block,
        |[project_no, stream, id, enabled, switches, profile]| {
            let row = CustomerRow {
                project_no: i32::from_be_bytes(fixed(project_no)?),
                stream: Uuid::from_bytes(fixed(stream)?),
                customer_user_id: text(id)?,
                enabled: fixed::<1>(enabled)? == [1],
                switches: switches.map(|json| text(Some(json))).transpose()?,
                profile: text(profile)?,
            };
            if left_out.contains(&row.stream) {
                return Ok(());
            }
            drawer.draw(&row, &mut drawn)
        },
    )?;
    Ok(drawn)
}

fn load_block(
    table: Table,
    writer: &mut Writer,
    block: &[u8],
    left_out: &HashSet<Uuid>,
) -> Result<(), StoreError> {
    match table {
        Table::Links => rows::<4>(block, |key| {
            if let Some(row) = identity(key, left_out)? {
                writer.load_link(&row);
            }
            Ok(())
        }),
        Table::Blocks => rows::<4>(block, |key| {
            if let Some(row) = identity(key, left_out)? {
                writer.load_block(&row);
            }
            Ok(())
        }),
        Table::Grants => rows::<7>(
            block,
            |[project_no, channel, id, stream, agents, enabled, expires_at]| {
                let Some(row) = identity([project_no, channel, id, stream], left_out)? else {
                    return Ok(());
                };
                let terms = Terms {
                    agents: serde_json::from_str(text(agents)?)
                        .map_err(|_| StoreError::Malformed("copied agents"))?,
                    enabled: fixed::<1>(enabled)? == [1],
                    expires_at: expires_at
                        .map(|at| fixed(Some(at)).map(i64::from_be_bytes).map(Timestamp))
                        .transpose()?,
                };
                writer.load_grant(&row, &terms);
                Ok(())
            },
        ),
    }
}

/// The key of a row, unless its stream is left out.
fn identity<'a>(
    [project_no, channel, id, stream]: [Option<&'a [u8]>; 4],
    left_out: &HashSet<Uuid>,
) -> Result<Option<IdentityRow<'a>>, StoreError> {
    let stream = Uuid::from_bytes(fixed(stream)?);
    if left_out.contains(&stream) {
        return Ok(None);
    }
    Ok(Some(IdentityRow {
        project_no: i32::from_be_bytes(fixed(project_no)?),
        channel: text(channel)?,
        external_user_id: text(id)?,
        stream,
    }))
}

fn text(column: Option<&[u8]>) -> Result<&str, StoreError> {
    std::str::from_utf8(column.unwrap_or_default())
        .map_err(|_| StoreError::Malformed("copied text"))
}

/// What a customer has in a field, which comes by its number.
type FieldValue = (Uuid, u16, String);

/// What was read beside the following, and the position that it is of.
pub(super) struct Refilled {
    pub(super) position: i64,
    pub(super) what: What,
}

/// What was read.
pub(super) enum What {
    /// Values of fields.
    Values {
        refill: Refill,
        values: Vec<FieldValue>,
    },
    /// Rows of customers, and everything that happened to those whom the directory leaves out.
    Rows {
        asked: Unread,
        rows: Vec<PgRow>,
        left_out: Vec<Vec<Recorded>>,
    },
}

/// Reads the values that a refill wants; `None` while the tables do not show the position that it is from.
pub(super) async fn refill(cell: &Cell, refill: &Refill) -> Result<Option<Refilled>, StoreError> {
    let mut snapshot = whole(cell).await?;
    let position = position(&mut snapshot).await?;
    let Some(position) = position.filter(|position| *position >= refill.from) else {
        return Ok(None);
    };
    let left_out = left_out(&mut snapshot).await?;
    let select = format!(
        "SELECT stream_id, profile::text FROM view_customers WHERE project_no = {}",
        refill.project_no
    );
    let mut values = Vec::new();
    let mut blocks = std::pin::pin!(copied::read(&mut snapshot, &select).await?);
    while let Some(block) = blocks.try_next().await? {
        let (fields, left_out) = (refill.fields.clone(), Arc::clone(&left_out));
        let reading = spawn_blocking(move || values_of(&block, &fields, &left_out));
        values.extend(reading.await.map_err(|_| StoreError::Closed)??);
    }
    for stream in left_out.iter() {
        let events = events(cell, *stream, position).await?;
        if let Some(profile) = profile(&events, refill.project_no) {
            push_values(&mut values, *stream, &profile, &refill.fields);
        }
    }
    let refill = refill.clone();
    Ok(Some(Refilled {
        position,
        what: What::Values { refill, values },
    }))
}

/// Reads the rows of some customers; `None` while the tables do not show the position that they are wanted of.
pub(super) async fn rows_of(cell: &Cell, asked: &Unread) -> Result<Option<Refilled>, StoreError> {
    let mut snapshot = snapshot(cell).await?;
    let position = position(&mut snapshot).await?;
    let Some(position) = position.filter(|position| *position >= asked.from) else {
        return Ok(None);
    };
    let rows = sqlx::query(ROWS)
        .bind(&asked.streams)
        .fetch_all(&mut *snapshot)
        .await?;
    let mut folded = Vec::new();
    for stream in left_out(&mut snapshot).await?.iter() {
        if asked.streams.contains(stream) {
            folded.push(events(cell, *stream, position).await?);
        }
    }
    Ok(Some(Refilled {
        position,
        what: What::Rows {
            asked: asked.clone(),
            rows,
            left_out: folded,
        },
    }))
}

/// A row that [`rows_of`] read.
pub(super) fn customer(row: &PgRow) -> Result<CustomerRow<'_>, StoreError> {
    Ok(CustomerRow {
        project_no: row.try_get(0)?,
        stream: row.try_get(1)?,
        customer_user_id: row.try_get(2)?,
        enabled: row.try_get(3)?,
        switches: row.try_get(4)?,
        profile: row.try_get(5)?,
    })
}

fn values_of(
    block: &[u8],
    fields: &[(u16, String)],
    left_out: &HashSet<Uuid>,
) -> Result<Vec<FieldValue>, StoreError> {
    let mut values = Vec::new();
    rows::<2>(block, |[stream, profile]| {
        let stream = Uuid::from_bytes(fixed(stream)?);
        if !left_out.contains(&stream) {
            let profile =
                profile_from_json(text(profile)?).ok_or(StoreError::Malformed("copied profile"))?;
            push_values(&mut values, stream, &profile, fields);
        }
        Ok(())
    })?;
    Ok(values)
}

fn push_values(
    values: &mut Vec<FieldValue>,
    stream: Uuid,
    profile: &Profile,
    fields: &[(u16, String)],
) {
    for (number, field) in fields {
        if let Some(value) = profile.get(field.as_str()).map(Value::as_text) {
            values.push((stream, *number, value.to_owned()));
        }
    }
}

/// The values of a customer of a project after some events; `None` where it is no customer's stream, or where this build cannot
/// read it.
fn profile(events: &[Recorded], project_no: i32) -> Option<Profile> {
    let mut customer = Customer::default();
    for recorded in events {
        let is_one = |known: &EventType| known.type_no == recorded.type_no;
        if recorded.project_no != project_no || !CustomerEvent::TYPES.iter().any(is_one) {
            return None;
        }
        customer.fold(recorded.decode().ok()?);
    }
    customer.profile.into_known()
}

async fn snapshot(cell: &Cell) -> Result<Transaction<'static, Postgres>, StoreError> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    Ok(cell.pool().begin_with(begin).await?)
}

/// A snapshot to read whole tables in.
async fn whole(cell: &Cell) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut snapshot = snapshot(cell).await?;
    // Whole tables are read, which the settings of the role keep from being planned.
    sqlx::query("SET LOCAL enable_seqscan = on")
        .execute(&mut *snapshot)
        .await?;
    Ok(snapshot)
}

/// The position of the directory, unless its tables are of another version.
async fn position(connection: &mut PgConnection) -> Result<Option<i64>, StoreError> {
    let row: Option<(i64, i32)> =
        sqlx::query_as("SELECT position, version FROM log_checkpoints WHERE name = $1")
            .bind(Directory::NAME)
            .fetch_optional(connection)
            .await?;
    // A directory that never ran has empty tables.
    let (position, version) = row.unwrap_or((0, Directory::VERSION));
    Ok((version == Directory::VERSION).then_some(position))
}
