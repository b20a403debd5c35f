//! How many customers came from where: table `view_data_sources`, kept by differences.

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::customer::SourceKind;
use sqlx::{PgPool, Row};

use crate::QueryError;
use crate::bucket::bucket;
use crate::customers::fold::Folded;
use crate::directory::Directory;
use crate::runner::Projection as _;

/// One data source of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSourceRow {
    /// The kind.
    pub kind: SourceKind,
    /// The provider, if rows have one.
    pub provider: Option<String>,
    /// The saved connection, if rows have one.
    pub connection_id: Option<String>,
    /// Customers from there.
    pub count: i64,
    /// Those of them who are enabled.
    pub enabled_count: i64,
    /// When one of them was last written.
    pub last_upserted_at: Timestamp,
}

impl DataSourceRow {
    /// The index prefix of its enabled or disabled customers.
    pub(crate) fn bucket(&self, project_no: i32, enabled: bool) -> i64 {
        let provider = self.provider.as_deref().unwrap_or_default();
        bucket(
            project_no,
            self.kind,
            provider,
            self.connection_id.as_deref().unwrap_or_default(),
            enabled,
        )
    }
}

/// The data sources of a project that have customers, in order of kind, provider and connection.
pub async fn list(pool: &PgPool, project_no: i32) -> Result<Vec<DataSourceRow>, QueryError> {
    Ok(overview(pool, project_no, Directory::NAME).await?.sources)
}

/// Data sources of a project, and what lists of its customers depend on besides.
pub(crate) struct Overview {
    pub(crate) sources: Vec<DataSourceRow>,
    /// About how many customers all projects of the cell have; -1 where Postgres does not know yet, or there is no data source.
    pub(crate) cell: f32,
    /// Where the projection was that was asked about.
    pub(crate) position: i64,
}

/// The data sources of a project that have customers, and where a projection is.
pub(crate) async fn overview(
    pool: &PgPool,
    project_no: i32,
    projection: &str,
) -> Result<Overview, QueryError> {
    let rows = sqlx::query(
        "SELECT source_kind,
                source_provider,
                source_connection,
                count,
                enabled_count,
                last_upserted_at,
                (SELECT reltuples FROM pg_class WHERE oid = to_regclass('view_customer_search')) AS size,
                (SELECT position FROM log_checkpoints WHERE name = $2) AS position
           FROM view_data_sources
          WHERE project_no = $1
            AND count > 0
          ORDER BY source_kind, source_provider, source_connection",
    )
    .bind(project_no)
    .bind(projection)
    .fetch_all(pool)
    .await?;
    let (size, position): (Option<f32>, Option<i64>) = match rows.first() {
        Some(row) => (row.try_get("size")?, row.try_get("position")?),
        None => (None, None),
    };
    let sources = rows
        .iter()
        .map(|row| {
            let set = |text: String| Some(text).filter(|text| !text.is_empty());
            Ok(DataSourceRow {
                kind: SourceKind::from_number(row.try_get("source_kind")?)
                    .ok_or(QueryError::Malformed)?,
                provider: set(row.try_get("source_provider")?),
                connection_id: set(row.try_get("source_connection")?),
                count: row.try_get("count")?,
                enabled_count: row.try_get("enabled_count")?,
                last_upserted_at: row.try_get::<DateTime<Utc>, _>("last_upserted_at")?.into(),
            })
        })
        .collect::<Result<_, QueryError>>()?;
    Ok(Overview {
        sources,
        cell: size.unwrap_or(-1.0),
        position: position.unwrap_or_default(),
    })
}

/// The differences of a page, an array a column.
#[derive(Default)]
pub(crate) struct Counts<'a> {
    pub(crate) project: Vec<i32>,
    pub(crate) kind: Vec<i16>,
    pub(crate) provider: Vec<&'a str>,
    pub(crate) connection: Vec<&'a str>,
    pub(crate) count: Vec<i64>,
    pub(crate) enabled: Vec<i64>,
    /// The beginning of time where no row was written.
    pub(crate) upserted_at: Vec<DateTime<Utc>>,
}

impl<'a> Counts<'a> {
    pub(crate) fn of(folded: &'a Folded) -> Self {
        let mut counts = Self::default();
        for (source, change) in &folded.counts {
            counts.project.push(source.project_no);
            counts.kind.push(source.kind.number());
            counts.provider.push(&source.provider);
            counts.connection.push(&source.connection);
            counts.count.push(change.count);
            counts.enabled.push(change.enabled);
            let upserted_at = change.upserted_at.map(Timestamp::to_utc);
            counts.upserted_at.push(upserted_at.unwrap_or_default());
        }
        counts
    }
}
