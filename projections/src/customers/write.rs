//! Rows of `view_customers` as arrays, and back.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use roster_domain::access::Access;
use roster_domain::customer::{Customer, DataSource, SourceKind, Status};
use roster_domain::value::{profile_from_json, profile_json};
use roster_domain::{Personal, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Encode, PgExecutor, PgPool, Postgres, Row, Type};
use uuid::Uuid;

use super::fold::{Listed, Needed};
use crate::page::PageError;

/// The rows that are needed, as far as they exist; a profile that is not needed is empty.
pub(crate) async fn present(
    executor: impl PgExecutor<'_>,
    rows: impl Iterator<Item = Needed>,
) -> Result<HashMap<Uuid, Listed>, PageError> {
    let (mut projects, mut streams, mut profiles) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        projects.push(row.project_no);
        streams.push(row.stream);
        profiles.push(row.with_profile);
    }
    let rows = sqlx::query(
        // Row by row through the one index of the stream: the project is no condition for an index here.
        "SELECT c.*
           FROM unnest($1::integer[], $2::uuid[], $3::boolean[]) AS wanted(project_no, stream_id, with_profile)
          CROSS JOIN LATERAL (
                SELECT v.created_at,
                       v.updated_at,
                       v.position,
                       v.stream_id,
                       v.project_no,
                       v.version,
                       v.source_kind,
                       v.enabled,
                       v.customer_user_id,
                       CASE WHEN wanted.with_profile THEN v.profile::text ELSE '{}' END AS profile,
                       v.connector_enabled,
                       v.source_provider,
                       v.source_connection,
                       v.source_external_id,
                       v.source_synced_at
                  FROM view_customers v
                 WHERE v.stream_id = wanted.stream_id
                   AND v.project_no + 0 = wanted.project_no
                OFFSET 0) c",
    )
    .bind(projects)
    .bind(streams)
    .bind(profiles)
    .fetch_all(executor)
    .await?;
    rows.iter().map(listed).collect()
}

/// Rows in the order of their streams, after a stream; none of them is left out.
pub(crate) async fn after(
    pool: &PgPool,
    stream: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Listed)>, PageError> {
    let rows = sqlx::query(
        "SELECT v.created_at,
                v.updated_at,
                v.position,
                v.stream_id,
                v.project_no,
                v.version,
                v.source_kind,
                v.enabled,
                v.customer_user_id,
                v.profile::text AS profile,
                v.connector_enabled,
                v.source_provider,
                v.source_connection,
                v.source_external_id,
                v.source_synced_at
           FROM view_customers v
          WHERE v.stream_id > $1
          ORDER BY v.stream_id
          LIMIT $2",
    )
    .bind(stream)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(listed).collect()
}

fn listed(row: &PgRow) -> Result<(Uuid, Listed), PageError> {
    let stream: Uuid = row.try_get("stream_id")?;
    let position: i64 = row.try_get("position")?;
    let poison = |code| PageError::Poison {
        stream,
        position,
        code,
    };
    let at = |column| row.try_get::<DateTime<Utc>, _>(column).map(Timestamp::from);
    let set = |text: String| Some(text).filter(|text| !text.is_empty());
    let Json(connector_enabled): Json<BTreeMap<String, bool>> = row.try_get("connector_enabled")?;
    let customer = Customer {
        status: Status::Active,
        customer_user_id: Personal::new(row.try_get("customer_user_id")?),
        profile: Personal::new(
            profile_from_json(row.try_get("profile")?)
                .ok_or_else(|| poison("malformed_profile"))?,
        ),
        enabled: row.try_get("enabled")?,
        connector_enabled,
        source: DataSource {
            kind: SourceKind::from_number(row.try_get("source_kind")?)
                .ok_or_else(|| poison("malformed_source"))?,
            provider: set(row.try_get("source_provider")?),
            connection_id: set(row.try_get("source_connection")?),
            external_id: Personal::new(row.try_get("source_external_id")?),
            synced_at: row
                .try_get::<Option<DateTime<Utc>>, _>("source_synced_at")?
                .map(Timestamp::from),
        },
        // These decide writes, and links and grants have tables of their own.
        is_adopted: false,
        is_disabled_at_source: false,
        claimed: Vec::new(),
        access: Access::default(),
        version: row.try_get("version")?,
        created_at: at("created_at")?,
        updated_at: at("updated_at")?,
    };
    Ok((
        stream,
        Listed {
            project_no: row.try_get("project_no")?,
            position,
            customer,
        },
    ))
}

/// Rows, an array a column.
#[derive(Default)]
pub(crate) struct Arrays<'a> {
    pub(crate) created_at: Vec<DateTime<Utc>>,
    pub(crate) updated_at: Vec<DateTime<Utc>>,
    pub(crate) bucket: Vec<i64>,
    pub(crate) position: Vec<i64>,
    pub(crate) stream: Vec<Uuid>,
    pub(crate) project: Vec<i32>,
    pub(crate) version: Vec<i32>,
    pub(crate) kind: Vec<i16>,
    pub(crate) enabled: Vec<bool>,
    pub(crate) id: Vec<&'a str>,
    pub(crate) display_name: Vec<String>,
    pub(crate) profile: Vec<JsonText>,
    pub(crate) connector_enabled: Vec<Json<&'a BTreeMap<String, bool>>>,
    pub(crate) provider: Vec<&'a str>,
    pub(crate) connection: Vec<&'a str>,
    pub(crate) external_id: Vec<Option<String>>,
    pub(crate) synced_at: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Arrays<'a> {
    pub(crate) fn of(rows: &'a [(Uuid, Listed)]) -> Self {
        let mut arrays = Self::default();
        for (stream, row) in rows {
            arrays.push(*stream, row);
        }
        arrays
    }

    fn push(&mut self, stream: Uuid, row: &'a Listed) {
        let customer = &row.customer;
        let source = &customer.source;
        let (provider, connection) = (
            source.provider.as_deref().unwrap_or_default(),
            source.connection_id.as_deref().unwrap_or_default(),
        );
        let profile = customer.profile.known();
        self.created_at.push(customer.created_at.to_utc());
        self.updated_at.push(customer.updated_at.to_utc());
        self.bucket.push(row.bucket());
        self.position.push(row.position);
        self.stream.push(stream);
        self.project.push(row.project_no);
        self.version.push(customer.version);
        self.kind.push(source.kind.number());
        self.enabled.push(customer.enabled);
        self.id.push(row.id());
        self.display_name.push(storable(customer.display_name()));
        self.profile
            .push(JsonText(profile.map_or_else(|| "{}".into(), profile_json)));
        self.connector_enabled
            .push(Json(&customer.connector_enabled));
        self.provider.push(provider);
        self.connection.push(connection);
        self.external_id
            .push(source.external_id.known().cloned().flatten().map(storable));
        self.synced_at.push(source.synced_at.map(Timestamp::to_utc));
    }
}

/// JSON text for a column of type `json`, which keeps it byte by byte; sqlx knows values only.
pub(crate) struct JsonText(String);

/// `json` and its array, as `pg_type` numbers them.
const JSON: Oid = Oid(114);
const JSONS: Oid = Oid(199);

impl Type<Postgres> for JsonText {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSON)
    }
}

impl PgHasArrayType for JsonText {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSONS)
    }
}

impl Encode<'_, Postgres> for JsonText {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// Postgres texts have no NUL.
pub(crate) fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', " ")
    } else {
        text
    }
}
