//! Purges: table `view_purges`. Who could not be erased is in [`crate::purge_failures`].
//!
//! The table holds nothing about a person: who asked is in the sealed state of the purge's stream, what was sought is
//! staged sealed until the purge ends. Queries open both.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::meta::Principal;
use roster_domain::purge::{
    OpenFilter, Purge, PurgeCounts, PurgeEvent, PurgeStatus, SOUGHT_PART, Sought,
};
use roster_store::{Cell, Project, Recorded};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::audit::actor;
use crate::customers::Cursor;
use crate::folds::Folds;
use crate::page::PageError;
use crate::paging::{Kind, Paging};
use crate::purge_failures::Failures;

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRow {
    /// Its id.
    pub purge_id: Uuid,
    /// How far it is.
    pub status: PurgeStatus,
    /// What its customers were found by; `None` where they were named.
    pub filter: Option<OpenFilter>,
    /// Whether they were found by values too.
    pub is_sought: bool,
    /// Those values, while it goes on.
    pub sought: Option<Sought>,
    /// What kind of credential asked, with the id of a key.
    pub requested_by: String,
    /// How many customers matched.
    pub matched: i64,
    /// How many of them it is of.
    pub total: i64,
    /// What became of those that were looked at.
    pub counts: PurgeCounts,
    /// 0 to 100.
    pub progress_pct: i16,
    /// Whether a person wants it to stop.
    pub cancel_requested: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its first chunk was applied.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl PurgeRow {
    /// Whether the values that customers were found by are still there.
    const fn keeps_sought(&self) -> bool {
        self.is_sought && self.finished_at.is_none()
    }
}

/// Purges of a project and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgePage {
    /// The newest first.
    pub rows: Vec<PurgeRow>,
    /// All of the project that match.
    pub total: i64,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

const SELECT: &str = "SELECT purge_id,
       status,
       filter,
       is_sought,
       principal,
       matched,
       total,
       deleted,
       not_found,
       failed,
       progress_pct,
       cancel_requested,
       created_at,
       started_at,
       finished_at
  FROM view_purges";

/// A purge of a project.
pub async fn get(
    cell: &Cell,
    project: &Project,
    purge_id: Uuid,
) -> Result<Option<PurgeRow>, QueryError> {
    let sql = format!("{SELECT} WHERE purge_id = $1 AND project_no = $2");
    let row = sqlx::query(&sql)
        .bind(purge_id)
        .bind(project.no)
        .fetch_optional(cell.pool())
        .await?;
    let mut rows = row.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    open(cell, project, &mut rows).await?;
    Ok(rows.pop())
}

/// A page of purges, the newest first; `active_only` leaves out those that ended.
///
/// # Errors
/// [`QueryError::InvalidCursor`] for a cursor of another list.
pub async fn list(
    cell: &Cell,
    project: &Project,
    active_only: bool,
    paging: &Paging,
) -> Result<PurgePage, QueryError> {
    const MATCH: &str = "WHERE project_no = $1 AND ($2 = false OR finished_at IS NULL)";
    let active = active_only.then_some("active");
    let kind = Kind::new("purges", project.no, &[active]);
    let after = paging.after(&kind)?;
    let total: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM view_purges {MATCH}"))
        .bind(project.no)
        .bind(active_only)
        .fetch_one(cell.pool())
        .await?;
    let sql = format!(
        "{SELECT} {MATCH} AND ($5::timestamptz IS NULL OR (created_at, purge_id) < ($5, $6))
          ORDER BY created_at DESC, purge_id DESC
          LIMIT $3 OFFSET $4"
    );
    let rows = sqlx::query(&sql)
        .bind(project.no)
        .bind(active_only)
        .bind(paging.limit())
        .bind(paging.offset())
        .bind(after.at)
        .bind(after.id)
        .fetch_all(cell.pool())
        .await?;
    let mut rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let next = paging.next(&mut rows, |last| {
        kind.cursor(last.created_at, last.purge_id.to_string())
    });
    open(cell, project, &mut rows).await?;
    Ok(PurgePage { rows, total, next })
}

fn read(row: &PgRow) -> Result<PurgeRow, QueryError> {
    let count = |column| {
        row.try_get::<i64, _>(column)
            .map(|count| u64::try_from(count).unwrap_or_default())
    };
    let time = |column| {
        row.try_get::<Option<DateTime<Utc>>, _>(column)
            .map(|time| time.map(Timestamp::from))
    };
    Ok(PurgeRow {
        purge_id: row.try_get("purge_id")?,
        status: PurgeStatus::parse(row.try_get("status")?).ok_or(QueryError::Malformed)?,
        filter: row
            .try_get::<Option<Json<OpenFilter>>, _>("filter")?
            .map(|Json(filter)| filter),
        is_sought: row.try_get("is_sought")?,
        sought: None,
        requested_by: row.try_get("principal")?,
        matched: row.try_get("matched")?,
        total: row.try_get("total")?,
        counts: PurgeCounts {
            deleted: count("deleted")?,
            not_found: count("not_found")?,
            failed: count("failed")?,
        },
        progress_pct: row.try_get("progress_pct")?,
        cancel_requested: row.try_get("cancel_requested")?,
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
    })
}

/// Adds what is sealed and still there. Somebody who follows a purge asks often: most purges are asked for by a key, which has
/// no subject, and by what is open.
async fn open(cell: &Cell, project: &Project, rows: &mut [PurgeRow]) -> Result<(), QueryError> {
    let token = actor(&Principal::Token);
    let mut by_person: Vec<&mut PurgeRow> = rows
        .iter_mut()
        .filter(|row| row.requested_by == token)
        .collect();
    if !by_person.is_empty() {
        let ids: Vec<Uuid> = by_person.iter().map(|row| row.purge_id).collect();
        let states = cell.load_many::<Purge>(project, &ids).await?;
        for (row, loaded) in by_person.iter_mut().zip(states) {
            if let Some(subject) = loaded.state.subject.known() {
                row.requested_by = format!("{token}:{subject}");
            }
        }
    }
    let ids: Vec<Uuid> = rows
        .iter()
        .filter(|row| row.keeps_sought())
        .map(|row| row.purge_id)
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let staged: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT job_id,
                sealed
           FROM job_chunks
          WHERE job_id = ANY ($1)
            AND chunk_no = 0",
    )
    .bind(&ids)
    .fetch_all(cell.pool())
    .await?;
    let sealed: Vec<(Uuid, &str, &[u8])> = staged
        .iter()
        .map(|(id, sealed)| (*id, SOUGHT_PART, sealed.as_slice()))
        .collect();
    let opened = cell.open_many(&sealed).await?;
    let mut sought: HashMap<Uuid, Sought> = staged
        .iter()
        .zip(opened)
        .filter_map(|((id, _), plain)| Some((*id, Sought::decode(&plain?)?)))
        .collect();
    for row in rows.iter_mut().filter(|row| row.keeps_sought()) {
        row.sought = sought.remove(&row.purge_id);
    }
    Ok(())
}

/// The purges that a page changes, and whom they failed on.
#[derive(Default)]
pub(crate) struct Purges {
    folds: Folds<Purge>,
    changed: BTreeMap<Uuid, (i32, i64, Purge)>,
    failures: Failures,
}

impl Purges {
    /// The rows that were collected. The states stay here.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            folds: Folds::default(),
            changed: std::mem::take(&mut self.changed),
            failures: std::mem::take(&mut self.failures),
        }
    }

    pub(crate) fn forget(&mut self) {
        self.folds.forget();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    pub(crate) async fn collect(
        &mut self,
        cell: &Cell,
        recorded: &Recorded,
        mut event: PurgeEvent,
    ) -> Result<(), PageError> {
        match &mut event {
            PurgeEvent::ChunkApplied { failures, .. } => {
                let failures = std::mem::take(failures);
                self.failures
                    .collect(recorded.stream, recorded.position, failures);
            }
            PurgeEvent::Expired { .. } => self.failures.expire(recorded.stream),
            _ => {}
        }
        let state = self.folds.with(cell, recorded, event).await?.clone();
        self.changed.insert(
            recorded.stream,
            (recorded.project_no, recorded.position, state),
        );
        Ok(())
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (id, (project_no, position, purge)) in &self.changed {
            write(connection, *id, *project_no, *position, purge).await?;
        }
        self.failures.write(connection).await
    }
}

async fn write(
    connection: &mut PgConnection,
    id: Uuid,
    project_no: i32,
    position: i64,
    purge: &Purge,
) -> Result<(), sqlx::Error> {
    let Some(created_at) = purge.created_at else {
        return Ok(());
    };
    // A text: binary JSON has no zero character, which a provider may have.
    let filter = purge.filter.as_ref();
    let filter = filter.and_then(|filter| serde_json::to_string(filter).ok());
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO view_purges AS v (
                purge_id,
                project_no,
                status,
                filter,
                is_sought,
                principal,
                matched,
                total,
                deleted,
                not_found,
                failed,
                progress_pct,
                cancel_requested,
                created_at,
                started_at,
                finished_at,
                position)
         VALUES ($1, $2, $3, $4::text::json, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (purge_id) DO UPDATE
            SET status = EXCLUDED.status,
                deleted = EXCLUDED.deleted,
                not_found = EXCLUDED.not_found,
                failed = EXCLUDED.failed,
                progress_pct = EXCLUDED.progress_pct,
                cancel_requested = EXCLUDED.cancel_requested,
                started_at = EXCLUDED.started_at,
                finished_at = EXCLUDED.finished_at,
                position = EXCLUDED.position
          WHERE v.position <= EXCLUDED.position",
    )
    .bind(id)
    .bind(project_no)
    .bind(purge.status.as_str())
    .bind(filter)
    .bind(purge.is_sought)
    .bind(actor(&purge.principal))
    .bind(number(purge.matched))
    .bind(number(purge.total))
    .bind(number(purge.counts.deleted))
    .bind(number(purge.counts.not_found))
    .bind(number(purge.counts.failed))
    .bind(i16::from(purge.progress_pct()))
    .bind(purge.cancel_requested)
    .bind(created_at.to_utc())
    .bind(purge.started_at.map(Timestamp::to_utc))
    .bind(purge.finished_at.map(Timestamp::to_utc))
    .bind(position)
    .execute(connection)
    .await?;
    Ok(())
}
