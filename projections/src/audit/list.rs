//! Who changed what in a project: pages of `view_audit_events`, the newest first.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use roster_domain::registry;
use roster_store::{Cell, Project};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{actor_key, type_key};
use crate::QueryError;
use crate::customers;

/// Beyond this many events the total is not counted.
const COUNTED: i64 = 10_000;

/// Which events are listed. What is absent does not count.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Who acted, as [`super::actor`] spells it.
    pub actor: Option<String>,
    /// The public name of a type.
    pub event_type: Option<String>,
    /// The stream that the events are about.
    pub stream: Option<Uuid>,
    /// Only events of this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only events before this time.
    pub to: Option<DateTime<Utc>>,
    /// Only events before this position: the last of the page before.
    pub before: Option<i64>,
    /// How many events are left out before the page, where there is no `before`.
    pub offset: i64,
    /// The most events of the page.
    pub limit: i64,
}

/// One event.
#[derive(Clone)]
pub struct AuditRow {
    /// Its place in the log.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// The public name of its type.
    pub event_type: &'static str,
    /// The stream that it is about.
    pub stream: Uuid,
    /// Who acted, as [`super::actor`] spells it.
    pub actor: String,
    /// Whom the actor's token was for; gone where the person the event is about was erased.
    pub subject: Option<String>,
    /// The id of the customer that the event is about, while there is one.
    pub customer_user_id: Option<String>,
    /// Paths into the record.
    pub changed_fields: Vec<String>,
}

impl std::fmt::Debug for AuditRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AuditRow")
            .field("position", &self.position)
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// The newest first.
    pub rows: Vec<AuditRow>,
    /// How many there are; `None` beyond what is counted.
    pub total: Option<i64>,
    /// At least so many, where they were not counted to the end.
    pub total_at_least: Option<i64>,
    /// The `before` of the next page; `None` on the last.
    pub next: Option<i64>,
}

/// The condition that an index is for: the most selective of the filters that are given.
const fn shape(filter: &AuditFilter) -> &'static str {
    if filter.stream.is_some() {
        "a.stream_id = $2 AND a.project_no + 0 = $1"
    } else if filter.actor.is_some() {
        "a.actor_key = $3 AND a.project_no + 0 = $1"
    } else if filter.event_type.is_some() {
        "a.type_key = $4 AND a.project_no + 0 = $1"
    } else {
        "a.project_no = $1"
    }
}

/// What holds beside it. Positions bound the walk through the index, times say exactly what is wanted.
const REST: &str = "($2::uuid IS NULL OR a.stream_id = $2)
       AND ($3::bigint IS NULL OR a.actor_key + 0 = $3)
       AND ($4::bigint IS NULL OR a.type_key + 0 = $4)
       AND a.position > $5
       AND a.position <= $6
       AND a.recorded_at >= $7
       AND a.recorded_at < $8";

/// A page of a project's events.
pub async fn list(
    cell: &Cell,
    project: &Project,
    filter: &AuditFilter,
) -> Result<AuditPage, QueryError> {
    let type_no = filter.event_type.as_deref().map(registry::numbers_of);
    let type_no = match type_no.as_deref() {
        None => None,
        Some([one]) => Some(*one),
        Some(_) => return Ok(empty()),
    };
    let bounds = Bounds::of(cell, filter).await?;
    let condition = format!("{} AND {REST}", shape(filter));
    let actor = filter.actor.as_deref();
    let bind = |sql| {
        sqlx::query(sql)
            .bind(project.no)
            .bind(filter.stream)
            .bind(actor.map(|actor| actor_key(project.no, actor)))
            .bind(type_no.map(|type_no| type_key(project.no, type_no)))
            .bind(bounds.after)
    };
    let counted = format!(
        "SELECT count(*) AS count
           FROM (SELECT FROM view_audit_events a WHERE {condition} LIMIT $9) AS bounded"
    );
    let total: i64 = bind(&counted)
        .bind(bounds.up_to)
        .bind(bounds.from)
        .bind(bounds.to)
        .bind(COUNTED + 1)
        .fetch_one(cell.pool())
        .await?
        .try_get("count")?;
    let page = format!(
        "SELECT a.position,
                a.recorded_at,
                a.stream_id,
                a.type_no,
                a.type_version,
                a.actor,
                a.changed_fields::text AS changed_fields
           FROM view_audit_events a
          WHERE {condition}
          ORDER BY a.position DESC
          LIMIT $9
         OFFSET $10"
    );
    let up_to = filter.before.map_or(bounds.up_to, |before| {
        bounds.up_to.min(before.saturating_sub(1))
    });
    let mut rows = bind(&page)
        .bind(up_to)
        .bind(bounds.from)
        .bind(bounds.to)
        .bind(filter.limit + 1)
        .bind(if filter.before.is_some() {
            0
        } else {
            filter.offset
        })
        .fetch_all(cell.pool())
        .await?;
    let limit = usize::try_from(filter.limit).unwrap_or_default();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let next = rows.last().map(|row| row.position).filter(|_| more);
    let rows = open(cell, project, rows).await?;
    Ok(AuditPage {
        rows,
        total: Some(total).filter(|total| *total <= COUNTED),
        total_at_least: Some(COUNTED).filter(|counted| total > *counted),
        next,
    })
}

const fn empty() -> AuditPage {
    AuditPage {
        rows: Vec::new(),
        total: Some(0),
        total_at_least: None,
        next: None,
    }
}

/// The times of a filter, and the positions between which all of their events are.
struct Bounds {
    after: i64,
    up_to: i64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Bounds {
    async fn of(cell: &Cell, filter: &AuditFilter) -> Result<Self, QueryError> {
        let before = |time: DateTime<Utc>| time - chrono::TimeDelta::microseconds(1);
        Ok(Self {
            after: match filter.from {
                Some(from) => cell.position_at(before(from)).await?,
                None => 0,
            },
            up_to: match filter.to {
                Some(to) => cell.position_at(before(to)).await?,
                None => i64::MAX,
            },
            from: filter.from.unwrap_or(EARLIEST),
            to: filter.to.unwrap_or(LATEST),
        })
    }
}

/// Before and after every event, and within what Postgres can store.
const EARLIEST: DateTime<Utc> = DateTime::UNIX_EPOCH;
const LATEST: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(latest) => latest,
    None => EARLIEST,
};

fn read(row: &PgRow) -> Result<AuditRow, QueryError> {
    let name = registry::name_of(row.try_get("type_no")?, row.try_get("type_version")?);
    Ok(AuditRow {
        position: row.try_get("position")?,
        recorded_at: row.try_get("recorded_at")?,
        event_type: name.ok_or(QueryError::Malformed)?,
        stream: row.try_get("stream_id")?,
        actor: row.try_get("actor")?,
        subject: None,
        customer_user_id: None,
        changed_fields: serde_json::from_str(row.try_get("changed_fields")?)
            .map_err(|_| QueryError::Malformed)?,
    })
}

/// Adds who it was: from the rows of customers, and from the events of tokens.
async fn open(
    cell: &Cell,
    project: &Project,
    mut rows: Vec<AuditRow>,
) -> Result<Vec<AuditRow>, QueryError> {
    let mut streams: Vec<Uuid> = rows.iter().map(|row| row.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    let found = customers::get_many_by_stream(cell.pool(), project.no, &streams).await?;
    let ids: HashMap<Uuid, String> = found
        .into_iter()
        .map(|customer| (customer.customer_ref, customer.customer_user_id))
        .collect();
    let tokens: Vec<i64> = rows
        .iter()
        .filter(|row| row.actor == "token")
        .map(|row| row.position)
        .collect();
    let mut subjects: HashMap<i64, String> = HashMap::new();
    if !tokens.is_empty() {
        for recorded in cell.read_positions(&tokens).await? {
            if let Some(subject) = recorded.meta()?.subject.into_known() {
                subjects.insert(recorded.position, subject);
            }
        }
    }
    for row in &mut rows {
        row.customer_user_id = ids.get(&row.stream).cloned();
        row.subject = subjects.remove(&row.position);
    }
    Ok(rows)
}
