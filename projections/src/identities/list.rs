//! Every identity of a project, page by page, by channel and identity.

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::access::LinkedBy;
use roster_domain::value::fold::fold;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::bucket::fingerprint;
use crate::customers::{Cursor, Key, escape};

/// Beyond it matches are not counted.
const BOUND: i64 = 10_000;
/// A search of so many characters finds any part of a text; a shorter one its beginning.
const WITHIN: usize = 3;

/// A bound identity.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityRow {
    /// The channel.
    pub channel: String,
    /// The normalised external user id.
    pub external_user_id: String,
    /// The customer's id.
    pub customer_user_id: String,
    /// The customer's stream.
    pub customer_ref: Uuid,
    /// Who bound it.
    pub linked_by: LinkedBy,
    /// When.
    pub linked_at: Timestamp,
}

impl std::fmt::Debug for IdentityRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IdentityRow")
            .field("channel", &self.channel)
            .field("customer_ref", &self.customer_ref)
            .finish_non_exhaustive()
    }
}

/// Which identities, those of customers or those that are nobody's.
#[derive(Clone, Default)]
pub struct IdentityFilter {
    /// On this channel, by its canonical name.
    pub channel: Option<String>,
    /// With this in the identity, the customer's id or what the channel told, without regard to case and accents.
    pub search: Option<String>,
}

/// A page of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPage {
    /// By channel and identity, in byte order.
    pub rows: Vec<IdentityRow>,
    /// How many there are; `None` beyond 10,000.
    pub total: Option<i64>,
    /// At least so many, where `total` is `None`.
    pub total_at_least: Option<i64>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Cursor>,
}

impl IdentityFilter {
    /// The folded search; `None` where it says nothing.
    pub(crate) fn term(&self) -> Option<String> {
        let term = fold(self.search.as_deref()?.trim());
        (!term.is_empty()).then_some(term)
    }

    /// What the cursors of one list of a project carry.
    pub(crate) fn fingerprint(&self, list: &str, project_no: i32) -> i64 {
        let term = self.term();
        fingerprint(
            list,
            project_no,
            &[self.channel.as_deref(), term.as_deref()],
        )
    }

    /// The conditions over $1 project, $2 channel and $3 pattern.
    fn conditions(&self) -> String {
        let mut conditions = String::from("v.project_no = $1");
        if self.channel.is_some() {
            conditions.push_str(" AND v.channel = $2");
        }
        match self.term() {
            Some(term) if term.chars().count() >= WITHIN => {
                conditions.push_str(" AND v.haystack LIKE '%' || $3 || '%'");
            }
            Some(_) => {
                conditions.push_str(" AND (E'\\n' || v.haystack) LIKE E'%\\n' || $3 || '%'");
            }
            None => {}
        }
        conditions
    }

    fn bind<'q>(
        &self,
        query: Query<'q, Postgres, PgArguments>,
        project_no: i32,
    ) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(project_no)
            .bind(self.channel.clone().unwrap_or_default())
            .bind(escape(&self.term().unwrap_or_default()))
    }
}

/// A page of the identities of a project: `page` counts from 1; with `after` the page starts behind that place instead.
pub async fn list(
    pool: &PgPool,
    project_no: i32,
    filter: &IdentityFilter,
    after: Option<&Cursor>,
    page: u32,
    page_size: u32,
) -> Result<IdentityPage, QueryError> {
    let fingerprint = filter.fingerprint("identities", project_no);
    let after = after.map(|cursor| cursor.key(fingerprint)).transpose()?;
    let place = after.map(|key| key.id.split_once('\n').ok_or(QueryError::InvalidCursor));
    let (channel, id) = place.transpose()?.unwrap_or_default();
    let offset = if after.is_some() {
        0
    } else {
        i64::from(page.saturating_sub(1)) * i64::from(page_size)
    };
    let conditions = filter.conditions();
    // A placeholder that a text does not use still has its type from here.
    let sql = format!(
        "SELECT v.channel,
                v.external_user_id,
                v.customer_user_id,
                v.stream_id,
                v.linked_by,
                v.linked_at
           FROM view_identities v
          WHERE {conditions}
            AND $2::text IS NOT NULL
            AND $3::text IS NOT NULL
            AND (v.channel, v.external_user_id) > ($4, $5)
          ORDER BY v.channel,
                   v.external_user_id
          LIMIT $6
         OFFSET $7"
    );
    let mut found = filter
        .bind(sqlx::query(&sql), project_no)
        .bind(channel)
        .bind(id)
        .bind(i64::from(page_size) + 1)
        .bind(offset)
        .fetch_all(pool)
        .await?
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    let more = found.len() > usize::try_from(page_size).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let next = found.last().filter(|_| more).map(|last| {
        let key = Key {
            at: Timestamp(0),
            id: format!("{}\n{}", last.channel, last.external_user_id),
        };
        Cursor::new(fingerprint, key)
    });
    let total = count(pool, project_no, filter).await?;
    Ok(IdentityPage {
        rows: found,
        total: Some(total).filter(|total| *total <= BOUND),
        total_at_least: Some(BOUND).filter(|_| total > BOUND),
        next,
    })
}

/// How many there are, to one more than are counted.
async fn count(pool: &PgPool, project_no: i32, filter: &IdentityFilter) -> Result<i64, QueryError> {
    let sql = format!(
        "SELECT count(*)
           FROM (SELECT
                   FROM view_identities v
                  WHERE {}
                    AND $2::text IS NOT NULL
                    AND $3::text IS NOT NULL
                  LIMIT {}) bounded",
        filter.conditions(),
        BOUND + 1
    );
    let row = filter.bind(sqlx::query(&sql), project_no);
    Ok(row.fetch_one(pool).await?.try_get(0)?)
}

fn read(row: &PgRow) -> Result<IdentityRow, QueryError> {
    Ok(IdentityRow {
        channel: row.try_get("channel")?,
        external_user_id: row.try_get("external_user_id")?,
        customer_user_id: row.try_get("customer_user_id")?,
        customer_ref: row.try_get("stream_id")?,
        linked_by: LinkedBy::from_number(row.try_get("linked_by")?).ok_or(QueryError::Malformed)?,
        linked_at: row.try_get::<DateTime<Utc>, _>("linked_at")?.into(),
    })
}
