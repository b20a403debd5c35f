//! The customer index: table `view_customers`, what a page of events does to it, and its queries.

pub(crate) mod copy;
mod export;
mod filter;
pub(crate) mod fold;
#[cfg(test)]
mod fold_tests;
mod history;
mod list;
mod matching;
mod parts;
mod shape;
mod statements;
pub mod synced;
mod totals;
pub(crate) mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::customer::SourceKind;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

pub use export::{export, extra_fields};
pub(crate) use filter::Key;
pub use filter::{Cursor, Filter, Sort};
pub use history::{AsOf, Changed, HistoryEntry, history, record_as_of};
pub use list::{CustomerPage, list};
pub use matching::{Matching, matching};
pub(crate) use shape::escape;
pub use totals::Totals;

use crate::QueryError;

/// One customer as lists show it.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerRow {
    /// The id.
    pub customer_user_id: String,
    /// The opaque reference: the id of the customer's stream.
    pub customer_ref: Uuid,
    /// What people call the customer.
    pub display_name: String,
    /// The profile as JSON text, names in byte order.
    pub profile: String,
    /// Whether the customer may use anything.
    pub enabled: bool,
    /// Channels with an explicit switch.
    pub connector_enabled: BTreeMap<String, bool>,
    /// The kind of the data source.
    pub source_kind: SourceKind,
    /// Its provider.
    pub source_provider: Option<String>,
    /// Its saved connection.
    pub source_connection: Option<String>,
    /// The row's id at the source.
    pub source_external_id: Option<String>,
    /// When the source last confirmed the row.
    pub source_synced_at: Option<Timestamp>,
    /// The record version.
    pub version: i32,
    /// When the customer was registered.
    pub created_at: Timestamp,
    /// When the record last moved.
    pub updated_at: Timestamp,
    /// The log position that the row stands for.
    pub position: i64,
}

impl std::fmt::Debug for CustomerRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CustomerRow")
            .field("customer_ref", &self.customer_ref)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

const COLUMNS: &str = "c.customer_user_id,
       c.stream_id,
       c.display_name,
       c.profile::text AS profile,
       c.enabled,
       c.connector_enabled,
       c.source_kind,
       c.source_provider,
       c.source_connection,
       c.source_external_id,
       c.source_synced_at,
       c.version,
       c.created_at,
       c.updated_at,
       c.position";

/// The customer with an id.
pub async fn get(
    pool: &PgPool,
    project_no: i32,
    customer_user_id: &str,
) -> Result<Option<CustomerRow>, QueryError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM view_customers c WHERE c.project_no = $1 AND c.customer_user_id = $2"
    );
    let row = sqlx::query(&sql)
        .bind(project_no)
        .bind(customer_user_id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The customer with a reference.
pub async fn get_by_stream(
    pool: &PgPool,
    project_no: i32,
    customer_ref: Uuid,
) -> Result<Option<CustomerRow>, QueryError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM view_customers c WHERE c.project_no + 0 = $1 AND c.stream_id = $2"
    );
    let row = sqlx::query(&sql)
        .bind(project_no)
        .bind(customer_ref)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The customers with these references, in no order; unknown ones are left out.
pub async fn get_many_by_stream(
    pool: &PgPool,
    project_no: i32,
    customer_refs: &[Uuid],
) -> Result<Vec<CustomerRow>, QueryError> {
    let sql = format!(
        "SELECT {COLUMNS}
           FROM unnest($2::uuid[]) AS wanted(stream_id)
          CROSS JOIN LATERAL (
                SELECT *
                  FROM view_customers v
                 WHERE v.stream_id = wanted.stream_id
                   AND v.project_no + 0 = $1
                OFFSET 0) c"
    );
    let rows = sqlx::query(&sql)
        .bind(project_no)
        .bind(customer_refs)
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

/// The customers with these ids in the order given; those who are gone are left out.
async fn get_many(
    pool: &PgPool,
    project_no: i32,
    ids: &[&str],
) -> Result<Vec<CustomerRow>, QueryError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {COLUMNS}
           FROM unnest($2::text[]) WITH ORDINALITY AS wanted(customer_user_id, place)
          CROSS JOIN LATERAL (
                SELECT *
                  FROM view_customers v
                 WHERE v.project_no = $1
                   AND v.customer_user_id = wanted.customer_user_id
                OFFSET 0) c
          ORDER BY wanted.place"
    );
    let rows = sqlx::query(&sql)
        .bind(project_no)
        .bind(ids)
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<CustomerRow, QueryError> {
    let set = |text: String| Some(text).filter(|text| !text.is_empty());
    let Json(connector_enabled) = row.try_get("connector_enabled")?;
    Ok(CustomerRow {
        customer_user_id: row.try_get("customer_user_id")?,
        customer_ref: row.try_get("stream_id")?,
        display_name: row.try_get("display_name")?,
        profile: row.try_get("profile")?,
        enabled: row.try_get("enabled")?,
        connector_enabled,
        source_kind: SourceKind::from_number(row.try_get("source_kind")?)
            .ok_or(QueryError::Malformed)?,
        source_provider: set(row.try_get("source_provider")?),
        source_connection: set(row.try_get("source_connection")?),
        source_external_id: row.try_get("source_external_id")?,
        source_synced_at: row
            .try_get::<Option<DateTime<Utc>>, _>("source_synced_at")?
            .map(Timestamp::from),
        version: row.try_get("version")?,
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        updated_at: row.try_get::<DateTime<Utc>, _>("updated_at")?.into(),
        position: row.try_get("position")?,
    })
}
