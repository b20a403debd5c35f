//! Pages of the journal, the newest first.

use chrono::{DateTime, Utc};
use roster_domain::dispatch::Record;
use sqlx::Postgres;
use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use uuid::Uuid;

use super::part;
use crate::{Cell, Project, StoreError};

/// Beyond this many dispatches the total is not counted.
const COUNTED: i64 = 10_000;

/// The place of a dispatch in the order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPlace {
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Its number.
    pub position: i64,
}

/// Which dispatches are listed. What is absent does not count.
#[derive(Clone, Debug, Default)]
pub struct JournalFilter {
    /// Those for this customer.
    pub customer_ref: Option<Uuid>,
    /// Those whose endpoint has this in it, without regard to case.
    pub endpoint: Option<String>,
    /// Those on this channel.
    pub channel: Option<String>,
    /// Those of this agent.
    pub agent_alias: Option<String>,
    /// Those that found a customer, or that did not.
    pub matched: Option<bool>,
    /// Those of this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Those before this time.
    pub to: Option<DateTime<Utc>>,
    /// Those before this place: the last one of the page before.
    pub before: Option<JournalPlace>,
    /// How many are left out before the page, where there is no `before`.
    pub offset: i64,
    /// The most of the page.
    pub limit: i64,
}

/// One dispatch as it is listed.
#[derive(Clone, Debug)]
pub struct JournalRow {
    /// Its place.
    pub place: JournalPlace,
    /// The customer it was for.
    pub customer_ref: Option<Uuid>,
    /// Whether the agent could be called.
    pub allowed: bool,
    /// The channel.
    pub channel: String,
    /// What the agent was to call.
    pub endpoint: String,
    /// The agent.
    pub agent_alias: String,
    /// Why.
    pub reason: String,
    /// How far the match was vouched for.
    pub trust: String,
    /// The personal part; `None` where the person was erased.
    pub record: Option<Record>,
}

/// The personal part of a dispatch, as it is stored.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    /// The customer under whose key it is; `None` where it is under that of the identity.
    pub customer_ref: Option<Uuid>,
    /// The keyed hash of the identity.
    pub identity_key: Vec<u8>,
    /// What is authenticated with it: [`part`].
    pub part: String,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
}

/// A page of dispatches.
#[derive(Clone, Debug, Default)]
pub struct JournalPage {
    /// The newest first.
    pub rows: Vec<JournalRow>,
    /// How many there are; `None` beyond what is counted.
    pub total: Option<i64>,
    /// At least so many, where they were not counted to the end.
    pub total_at_least: Option<i64>,
    /// The `before` of the next page; `None` on the last.
    pub next: Option<JournalPlace>,
}

/// Before and after every dispatch, and within what Postgres can store.
const EARLIEST: DateTime<Utc> = DateTime::UNIX_EPOCH;
const LATEST: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(latest) => latest,
    None => EARLIEST,
};

/// $1 project, $2 customer, $3 part of the endpoint, $4 channel, $5 agent, $6 matched, $7 from, $8 to.
const REST: &str = "($3::text IS NULL OR strpos(lower(j.endpoint), lower($3)) > 0)
       AND ($4::text IS NULL OR j.channel = $4)
       AND ($5::text IS NULL OR lower(j.agent_alias) = lower($5))
       AND ($6::boolean IS NULL OR (j.customer_ref IS NOT NULL) = $6)
       AND j.recorded_at >= $7
       AND j.recorded_at < $8";

impl JournalFilter {
    /// The condition that an index is for, and the rest.
    fn condition(&self) -> String {
        let indexed = if self.customer_ref.is_some() {
            "j.customer_ref = $2 AND j.project_no + 0 = $1"
        } else {
            // A placeholder that a text does not use still has its type from here.
            "j.project_no = $1 AND $2::uuid IS NULL"
        };
        format!("{indexed} AND {REST}")
    }

    fn bind<'q>(&'q self, sql: &'q str, project_no: i32) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(sql)
            .bind(project_no)
            .bind(self.customer_ref)
            .bind(&self.endpoint)
            .bind(&self.channel)
            .bind(&self.agent_alias)
            .bind(self.matched)
            .bind(self.from.unwrap_or(EARLIEST))
            .bind(self.to.unwrap_or(LATEST))
    }
}

impl Cell {
    /// A page of a project's dispatches.
    pub async fn journal_page(
        &self,
        project: &Project,
        filter: &JournalFilter,
    ) -> Result<JournalPage, StoreError> {
        let condition = filter.condition();
        let counted = format!(
            "SELECT count(*) AS count
               FROM (SELECT FROM log_journal j WHERE {condition} LIMIT $9) AS bounded"
        );
        let total: i64 = filter
            .bind(&counted, project.no)
            .bind(COUNTED + 1)
            .fetch_one(self.pool())
            .await?
            .try_get("count")?;
        let page = format!(
            "SELECT j.position,
                    j.recorded_at,
                    j.customer_ref,
                    j.allowed,
                    j.run_key,
                    j.identity_key,
                    j.channel,
                    j.endpoint,
                    j.agent_alias,
                    j.reason,
                    j.trust,
                    j.sealed
               FROM log_journal j
              WHERE {condition}
                AND (j.recorded_at, j.position) < ($9, $10)
              ORDER BY j.recorded_at DESC,
                       j.position DESC
              LIMIT $11
             OFFSET $12"
        );
        let before = filter.before.unwrap_or(JournalPlace {
            recorded_at: LATEST,
            position: i64::MAX,
        });
        let offset = if filter.before.is_some() {
            0
        } else {
            filter.offset
        };
        let mut rows = filter
            .bind(&page, project.no)
            .bind(before.recorded_at)
            .bind(before.position)
            .bind(filter.limit + 1)
            .bind(offset)
            .fetch_all(self.pool())
            .await?;
        let limit = usize::try_from(filter.limit).unwrap_or_default();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let rows = self.open_journal(project, &rows).await?;
        Ok(JournalPage {
            next: rows.last().map(|row| row.place).filter(|_| more),
            total: Some(total).filter(|total| *total <= COUNTED),
            total_at_least: Some(COUNTED).filter(|counted| total > *counted),
            rows,
        })
    }

    /// Opens what was sealed, with one look-up for the keys of all customers.
    async fn open_journal(
        &self,
        project: &Project,
        rows: &[PgRow],
    ) -> Result<Vec<JournalRow>, StoreError> {
        let mut listed = Vec::with_capacity(rows.len());
        let mut sealed = Vec::new();
        let mut places = Vec::new();
        for row in rows {
            let customer_ref: Option<Uuid> = row.try_get("customer_ref")?;
            if let Some(bytes) = row.try_get::<Option<Vec<u8>>, _>("sealed")? {
                places.push(listed.len());
                sealed.push(SealedRecord {
                    customer_ref,
                    identity_key: row.try_get("identity_key")?,
                    part: part(row.try_get("run_key")?),
                    bytes,
                });
            }
            listed.push(JournalRow {
                place: JournalPlace {
                    recorded_at: row.try_get("recorded_at")?,
                    position: row.try_get("position")?,
                },
                customer_ref,
                allowed: row.try_get("allowed")?,
                channel: row.try_get("channel")?,
                endpoint: row.try_get("endpoint")?,
                agent_alias: row.try_get("agent_alias")?,
                reason: row.try_get("reason")?,
                trust: row.try_get("trust")?,
                record: None,
            });
        }
        let opened = self.open_records(project, &sealed).await?;
        for (place, record) in places.into_iter().zip(opened) {
            if let Some(row) = listed.get_mut(place) {
                row.record = record;
            }
        }
        Ok(listed)
    }

    /// The personal parts of dispatches, in the order given; `None` where a person was erased.
    pub async fn open_records(
        &self,
        project: &Project,
        sealed: &[SealedRecord],
    ) -> Result<Vec<Option<Record>>, StoreError> {
        let known: Vec<(Uuid, &str, &[u8])> = sealed
            .iter()
            .filter_map(|one| Some((one.customer_ref?, one.part.as_str(), one.bytes.as_slice())))
            .collect();
        let mut known = self.open_many(&known).await?.into_iter();
        let mut records = Vec::with_capacity(sealed.len());
        for one in sealed {
            let plain = if one.customer_ref.is_some() {
                known.next().flatten()
            } else {
                let key = project.key_of_identity(&one.identity_key);
                Some(key.open(one.part.as_bytes(), &one.bytes)?)
            };
            let record =
                plain.map(|plain| Record::decode(&plain).ok_or(StoreError::Malformed("dispatch")));
            records.push(record.transpose()?);
        }
        Ok(records)
    }
}
