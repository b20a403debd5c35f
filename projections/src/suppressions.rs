//! Ids that imports and syncs skip: table `view_suppressions`.
//!
//! The table names streams only. The id is personal and stays in the sealed state of the stream, which a list opens.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::suppression::{Suppression, SuppressionEvent};
use roster_store::{Cell, Project, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::QueryError;

/// One suppressed id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRow {
    /// The stream, which is also the place in the list: newer ones come later.
    pub stream: Uuid,
    /// The id.
    pub customer_user_id: String,
    /// When it was suppressed.
    pub created_at: Timestamp,
}

/// Suppressed ids of a project and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionPage {
    /// In the order of their streams.
    pub rows: Vec<SuppressionRow>,
    /// All of the project.
    pub total: i64,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Uuid>,
}

/// A page of suppressed ids: `page` counts from 1; with `after` the page starts behind that stream instead.
pub async fn list(
    cell: &Cell,
    project: &Project,
    after: Option<Uuid>,
    page: u32,
    page_size: u32,
) -> Result<SuppressionPage, QueryError> {
    let total: i64 =
        sqlx::query_scalar("SELECT count(*) FROM view_suppressions WHERE project_no = $1")
            .bind(project.no)
            .fetch_one(cell.pool())
            .await?;
    let offset = if after.is_some() {
        0
    } else {
        i64::from(page.saturating_sub(1)) * i64::from(page_size)
    };
    let mut found: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
        "SELECT stream_id,
                created_at
           FROM view_suppressions
          WHERE project_no = $1
            AND stream_id > $2
          ORDER BY stream_id
          LIMIT $3
         OFFSET $4",
    )
    .bind(project.no)
    .bind(after.unwrap_or(Uuid::nil()))
    .bind(i64::from(page_size) + 1)
    .bind(offset)
    .fetch_all(cell.pool())
    .await?;
    let more = found.len() > usize::try_from(page_size).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let streams: Vec<Uuid> = found.iter().map(|(stream, _)| *stream).collect();
    let states = cell.load_many::<Suppression>(project, &streams).await?;
    let rows = found
        .into_iter()
        .zip(states)
        .filter_map(|((stream, created_at), loaded)| {
            let customer_user_id = loaded.into_state().customer_user_id.into_known()?;
            Some(SuppressionRow {
                stream,
                customer_user_id,
                created_at: created_at.into(),
            })
        })
        .collect();
    Ok(SuppressionPage {
        rows,
        total,
        next: streams.last().copied().filter(|_| more),
    })
}

/// What a page does to suppressions: when they came, or `None` where they went.
#[derive(Default)]
pub(crate) struct Suppressions(BTreeMap<(i32, Uuid), (i64, Option<Timestamp>)>);

impl Suppressions {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn collect(&mut self, recorded: &Recorded, event: &SuppressionEvent) {
        let added = match event {
            SuppressionEvent::Added { at, .. } => Some(*at),
            SuppressionEvent::Removed { .. } => None,
        };
        self.0.insert(
            (recorded.project_no, recorded.stream),
            (recorded.position, added),
        );
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (mut project, mut stream, mut at, mut position) = (vec![], vec![], vec![], vec![]);
        for ((project_no, stream_id), (last, added)) in &self.0 {
            project.push(*project_no);
            stream.push(*stream_id);
            at.push(added.map(Timestamp::to_utc));
            position.push(*last);
        }
        sqlx::query(
            "WITH changes AS MATERIALIZED (
                 SELECT *
                   FROM unnest($1::integer[], $2::uuid[], $3::timestamptz[], $4::bigint[])
                        AS c(project_no, stream_id, created_at, position)
             ), removed AS (
                 DELETE FROM view_suppressions v
                  USING changes c
                  WHERE c.created_at IS NULL
                    AND v.project_no = c.project_no
                    AND v.stream_id = c.stream_id
             )
             INSERT INTO view_suppressions (project_no, stream_id, created_at, position)
             SELECT c.project_no,
                    c.stream_id,
                    c.created_at,
                    c.position
               FROM changes c
              WHERE c.created_at IS NOT NULL
                 ON CONFLICT (project_no, stream_id) DO UPDATE
                SET position = EXCLUDED.position",
        )
        .bind(project)
        .bind(stream)
        .bind(at)
        .bind(position)
        .execute(connection)
        .await?;
        Ok(())
    }
}
