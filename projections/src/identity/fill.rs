//! Reads the memory from the read tables: everything of one snapshot, at the position that the directory had reached.

use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use roster_domain::Timestamp;
use roster_domain::access::Terms;
use roster_domain::schema::Definition;
use roster_domain::value::{Value, profile_from_json};
use roster_store::copied::{self, fixed, rows};
use roster_store::{Cell, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row, Transaction};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::memory::{CustomerRow, Drawer, Drawn, IdentityRow, Refill, Unread, Writer};
use crate::directory::Directory;
use crate::runner::Projection;

const CUSTOMERS: &str = "SELECT project_no, stream_id, customer_user_id, enabled, \
     NULLIF(connector_enabled, '{}')::text, profile::text FROM view_customers";
const ROWS: &str = "SELECT c.project_no, c.stream_id, c.customer_user_id, c.enabled, \
     NULLIF(c.connector_enabled, '{}')::text, c.profile::text FROM unnest($1::uuid[]) AS w(stream_id) \
     CROSS JOIN LATERAL (SELECT * FROM view_customers v WHERE v.stream_id = w.stream_id OFFSET 0) c";
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

/// Fills an empty memory; the position that it is of, or `None` where the directory is of another version.
pub(super) async fn fill(
    cell: &Cell,
    mut writer: Writer,
) -> Result<(Writer, Option<i64>), StoreError> {
    let mut snapshot = whole(cell).await?;
    let Some(position) = position(&mut snapshot).await? else {
        return Ok((writer, None));
    };
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
        writer = load(table, writer, &mut blocks).await?;
    }
    writer = load_customers(writer, &mut snapshot).await?;
    writer.loaded();
    snapshot.commit().await?;
    Ok((writer, Some(position)))
}

/// Loads blocks beside the reading.
async fn load(
    table: Table,
    mut writer: Writer,
    blocks: &mut (impl Stream<Item = Result<Vec<u8>, StoreError>> + Unpin),
) -> Result<Writer, StoreError> {
    let mut block = blocks.try_next().await?;
    while let Some(read) = block {
        let loading = spawn_blocking(move || {
            load_block(table, &mut writer, &read)?;
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
        let own = Arc::clone(&drawer);
        let drawing = spawn_blocking(move || read.map(|read| draw(&own, &read)).transpose());
        let next = blocks.try_next().await;
        // Whoever is told of a failure empties the memory, so nobody may write to it any more.
        let written = writing.await;
        drawn = drawing.await.map_err(|_| StoreError::Closed)??;
        writer = written.map_err(|_| StoreError::Closed)??;
        block = next?;
    }
    Ok(writer)
}

fn draw(drawer: &Drawer, block: &[u8]) -> Result<Drawn, StoreError> {
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
            drawer.draw(&row, &mut drawn)
        },
    )?;
    Ok(drawn)
}

fn load_block(table: Table, writer: &mut Writer, block: &[u8]) -> Result<(), StoreError> {
    match table {
        Table::Links => rows::<4>(block, |key| {
            writer.load_link(&identity(key)?);
            Ok(())
        }),
        Table::Blocks => rows::<4>(block, |key| {
            writer.load_block(&identity(key)?);
            Ok(())
        }),
        Table::Grants => rows::<7>(
            block,
            |[project_no, channel, id, stream, agents, enabled, expires_at]| {
                let terms = Terms {
                    agents: serde_json::from_str(text(agents)?)
                        .map_err(|_| StoreError::Malformed("copied agents"))?,
                    enabled: fixed::<1>(enabled)? == [1],
                    expires_at: expires_at
                        .map(|at| fixed(Some(at)).map(i64::from_be_bytes).map(Timestamp))
                        .transpose()?,
                };
                let key = identity([project_no, channel, id, stream])?;
                writer.load_grant(&key, &terms);
                Ok(())
            },
        ),
    }
}

fn identity(
    [project_no, channel, id, stream]: [Option<&[u8]>; 4],
) -> Result<IdentityRow<'_>, StoreError> {
    Ok(IdentityRow {
        project_no: i32::from_be_bytes(fixed(project_no)?),
        channel: text(channel)?,
        external_user_id: text(id)?,
        stream: Uuid::from_bytes(fixed(stream)?),
    })
}

fn text(column: Option<&[u8]>) -> Result<&str, StoreError> {
    std::str::from_utf8(column.unwrap_or_default())
        .map_err(|_| StoreError::Malformed("copied text"))
}

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
        values: Vec<(Uuid, u16, String)>,
    },
    /// Rows of customers.
    Rows { asked: Unread, rows: Vec<PgRow> },
}

/// Reads the values that a refill wants; `None` while the tables do not show the position that it is from.
pub(super) async fn refill(cell: &Cell, refill: &Refill) -> Result<Option<Refilled>, StoreError> {
    let mut snapshot = whole(cell).await?;
    let position = position(&mut snapshot).await?;
    let Some(position) = position.filter(|position| *position >= refill.from) else {
        return Ok(None);
    };
    let select = format!(
        "SELECT stream_id, profile::text FROM view_customers WHERE project_no = {}",
        refill.project_no
    );
    let mut values = Vec::new();
    let mut blocks = std::pin::pin!(copied::read(&mut snapshot, &select).await?);
    while let Some(block) = blocks.try_next().await? {
        let fields = refill.fields.clone();
        let reading = spawn_blocking(move || values_of(&block, &fields));
        values.extend(reading.await.map_err(|_| StoreError::Closed)??);
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
    let asked = asked.clone();
    Ok(Some(Refilled {
        position,
        what: What::Rows { asked, rows },
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
) -> Result<Vec<(Uuid, u16, String)>, StoreError> {
    let mut values = Vec::new();
    rows::<2>(block, |[stream, profile]| {
        let stream = Uuid::from_bytes(fixed(stream)?);
        let profile =
            profile_from_json(text(profile)?).ok_or(StoreError::Malformed("copied profile"))?;
        for (number, field) in fields {
            if let Some(value) = profile.get(field).map(Value::as_text) {
                values.push((stream, *number, value.to_owned()));
            }
        }
        Ok(())
    })?;
    Ok(values)
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
