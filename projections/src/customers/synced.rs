//! The rows of a connection, for its runs: by the index prefix that stands for its tag.

use roster_domain::customer::SourceKind;
use sqlx::PgPool;
use uuid::Uuid;

use crate::QueryError;
use crate::bucket::bucket;

/// Whose rows.
#[derive(Clone, Copy, Debug)]
pub struct Tagged<'a> {
    /// The project.
    pub project_no: i32,
    /// The provider of the tag.
    pub provider: &'a str,
    /// The public id of the connection.
    pub connection_id: &'a str,
}

/// Stream, customer id and record id of a row.
pub type SyncedRow = (Uuid, String, Option<String>);

impl Tagged<'_> {
    fn bucket(&self, enabled: bool) -> i64 {
        let kind = SourceKind::DirectorySync;
        bucket(
            self.project_no,
            kind,
            self.provider,
            self.connection_id,
            enabled,
        )
    }
}

/// How many there are.
pub async fn count(pool: &PgPool, tagged: Tagged<'_>) -> Result<u64, QueryError> {
    let count: Option<i64> = sqlx::query_scalar(
        "SELECT count
           FROM view_data_sources
          WHERE project_no = $1
            AND source_kind = 3
            AND source_provider = $2
            AND source_connection = $3",
    )
    .bind(tagged.project_no)
    .bind(tagged.provider)
    .bind(tagged.connection_id)
    .fetch_optional(pool)
    .await?;
    Ok(u64::try_from(count.unwrap_or_default()).unwrap_or_default())
}

/// Those that are switched on, or off, in the order of their ids behind one.
pub async fn page(
    pool: &PgPool,
    tagged: Tagged<'_>,
    enabled: bool,
    after: &str,
    limit: u32,
) -> Result<Vec<SyncedRow>, QueryError> {
    Ok(sqlx::query_as(
        "SELECT stream_id, customer_user_id, source_external_id
           FROM view_customers
          WHERE bucket = $1
            AND customer_user_id > $2
            AND project_no + 0 = $3
            AND source_connection = $4
          ORDER BY customer_user_id
          LIMIT $5",
    )
    .bind(tagged.bucket(enabled))
    .bind(after)
    .bind(tagged.project_no)
    .bind(tagged.connection_id)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?)
}

/// Those of some records.
pub async fn of_records(
    pool: &PgPool,
    tagged: Tagged<'_>,
    record_ids: &[String],
) -> Result<Vec<SyncedRow>, QueryError> {
    Ok(sqlx::query_as(
        "SELECT f.stream_id, f.customer_user_id, f.source_external_id
           FROM unnest($1::bigint[]) AS b(bucket)
          CROSS JOIN unnest($2::text[]) AS wanted(record)
          CROSS JOIN LATERAL (
                SELECT v.stream_id, v.customer_user_id, v.source_external_id
                  FROM view_customers v
                 WHERE v.bucket = b.bucket
                   AND v.source_external_id = wanted.record
                   AND v.source_kind = 3
                   AND v.project_no + 0 = $3
                   AND v.source_connection = $4
                OFFSET 0) f",
    )
    .bind([tagged.bucket(true), tagged.bucket(false)])
    .bind(record_ids)
    .bind(tagged.project_no)
    .bind(tagged.connection_id)
    .fetch_all(pool)
    .await?)
}
