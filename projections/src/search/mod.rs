//! The projection `search`: table `view_customer_search`.
//!
//! Its index costs several times what a plain upsert does, so it has a runner of its own and follows the directory. A page
//! only says which customers changed; the rows are made from `view_customers`, which is as far or further.

mod fill;
mod row;
pub(crate) mod touched;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use roster_store::{Cell, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::customers::fold::Needed;
use crate::customers::write::present;
use crate::directory::Directory;
use crate::pace::{Gather, Pace};
use crate::page::PageError;
use crate::runner::{IDLE, Item, LEASE_SECONDS, Projection, Step};
use crate::status::Shared;
use row::SearchRow;
pub(crate) use row::start;
use touched::{Touch, Touched};

/// How long changes are gathered when they trickle.
const GATHER: Gather = Gather {
    time: Duration::from_millis(100),
    events: 1_000,
};

impl Item for Touch {
    fn position(&self) -> i64 {
        self.position
    }

    fn stream(&self) -> Uuid {
        self.stream
    }

    fn project_no(&self) -> i32 {
        self.project_no
    }

    fn scrubs(&self) -> bool {
        self.scrubs
    }
}

pub(crate) struct Search {
    cell: Cell,
    directory: Arc<Shared>,
    projected: watch::Receiver<i64>,
    touched: Arc<Touched>,
    pace: Pace,
}

impl Search {
    pub(crate) fn new(
        cell: Cell,
        directory: Arc<Shared>,
        own: Arc<Shared>,
        touched: Arc<Touched>,
    ) -> Self {
        Self {
            projected: cell.projected().subscribe(),
            pace: Pace::new(cell.clone(), Arc::clone(&directory), own, GATHER),
            cell,
            directory,
            touched,
        }
    }
}

impl Projection for Search {
    const NAME: &'static str = "search";
    const VERSION: i32 = 2;
    const SCRUB: &'static [(&'static str, &'static str)] = &[(
        "view_customer_search",
        "DELETE FROM {table} WHERE stream_id = ANY ($1)",
    )];
    type Item = Touch;

    fn forget(&mut self) {}

    async fn read(&mut self, after: i64, limit: i64) -> Result<Vec<Touch>, StoreError> {
        let limit = limit.min(self.directory.progress.position() - after);
        if limit <= 0 || self.pace.must_wait(after) {
            return Ok(Vec::new());
        }
        if let Some(touches) = self.touched.after(after, limit) {
            return Ok(touches);
        }
        let page = self.cell.read_page(after, limit).await?;
        Ok(page.iter().map(Touch::of).collect())
    }

    async fn wait(&mut self, position: i64) {
        let idle = Instant::now() + IDLE;
        // Another server may run the directory: then its position is looked up and sent here all the same.
        if self.directory.progress.position() <= position {
            let more = self.projected.wait_for(|projected| *projected > position);
            if tokio::time::timeout_at(idle, more).await.is_err() {
                return;
            }
        }
        self.pace.wait(position, idle).await;
    }

    async fn apply(&mut self, page: &[&Touch], step: Step) -> Result<(), PageError> {
        // Whoever goes never comes back as the same stream, so their row need not be looked for.
        let going = page.iter().filter(|touch| touch.scrubs);
        let mut seen = HashSet::new();
        let gone: Vec<(i32, Uuid)> = going
            .filter(|touch| seen.insert(touch.stream))
            .map(|touch| (touch.project_no, touch.stream))
            .collect();
        let streams: Vec<(i32, Uuid)> = page
            .iter()
            .filter(|touch| touch.listed && seen.insert(touch.stream))
            .map(|touch| (touch.project_no, touch.stream))
            .collect();
        let started = Instant::now();
        self.write(&streams, &gone, step).await?;
        self.pace.wrote(started);
        Ok(())
    }

    async fn refold(&mut self, project_no: i32, stream: Uuid, step: Step) -> Result<(), PageError> {
        self.write(&[(project_no, stream)], &[], step).await
    }
}

impl Search {
    async fn write(
        &self,
        streams: &[(i32, Uuid)],
        gone: &[(i32, Uuid)],
        step: Step,
    ) -> Result<(), PageError> {
        let rows = if streams.is_empty() {
            HashMap::new()
        } else {
            let wanted = streams
                .iter()
                .map(|(project_no, stream)| Needed::row(*project_no, *stream));
            // One connection, so that no crash of Postgres lies between the two.
            let mut connection = self.cell.pool().acquire().await?;
            let listed: Option<i64> = sqlx::query_scalar(LISTED)
                .bind(Directory::NAME)
                .fetch_optional(&mut *connection)
                .await?;
            if listed.is_some_and(|listed| listed < step.to) {
                return Err(PageError::Behind);
            }
            present(&mut *connection, wanted).await?
        };
        let missing = streams
            .iter()
            .filter(|(_, stream)| !rows.contains_key(stream));
        let (gone_project, gone_stream): (Vec<i32>, Vec<Uuid>) =
            gone.iter().chain(missing).copied().unzip();
        let (mut position, mut stream, mut project, mut id) = (vec![], vec![], vec![], vec![]);
        let (mut id_start, mut name_start, mut haystack) = (vec![], vec![], vec![]);
        let mut exact = vec![];
        let (mut created_at, mut updated_at, mut buckets) = (vec![], vec![], vec![]);
        for (stream_id, listed) in &rows {
            let row = SearchRow::of(listed);
            created_at.push(listed.customer.created_at.to_utc());
            updated_at.push(listed.customer.updated_at.to_utc());
            buckets.push(listed.bucket());
            position.push(listed.position);
            stream.push(*stream_id);
            project.push(listed.project_no);
            id.push(listed.id());
            id_start.push(row.id_start);
            name_start.push(row.name_start);
            haystack.push(row.haystack);
            exact.push(array_text(&row.exact));
        }
        let kept: bool = sqlx::query_scalar(ADVANCE)
            .bind(step.name)
            .bind(step.epoch)
            .bind(step.from)
            .bind(step.to)
            .bind(LEASE_SECONDS)
            .bind(position)
            .bind(stream)
            .bind(project)
            .bind(id)
            .bind(id_start)
            .bind(name_start)
            .bind(haystack)
            .bind(exact)
            .bind(gone_project)
            .bind(gone_stream)
            .bind(created_at)
            .bind(updated_at)
            .bind(buckets)
            .fetch_one(self.cell.pool())
            .await?;
        if kept { Ok(()) } else { Err(PageError::Fenced) }
    }
}

/// How far the listed rows are. This server may remember a position that Postgres lost with its last commits.
const LISTED: &str = "SELECT position FROM log_checkpoints WHERE name = $1";

/// An array of one row as Postgres reads it from text.
fn array_text(hashes: &[i64]) -> String {
    let hashes: Vec<String> = hashes.iter().map(i64::to_string).collect();
    format!("{{{}}}", hashes.join(","))
}

/// Writes rows, deletes those of streams without a customer and moves the checkpoint: all of it, or nothing where the
/// lease was lost. Arrays of arrays do not exist in SQL, and a join of two arrays looks at all pairs, so the hashes of a row
/// come as one text.
const ADVANCE: &str = "
WITH fence AS MATERIALIZED (
    SELECT log_advance_checkpoint($1, $2, $3, $4, $5) AS kept
), deletes AS (
    DELETE FROM view_customer_search v
     WHERE (SELECT kept FROM fence)
       AND v.ctid = ANY (ARRAY(
           SELECT found.ctid
             FROM unnest($14::integer[], $15::uuid[]) AS gone(project_no, stream_id)
            CROSS JOIN LATERAL (
                  SELECT o.ctid
                    FROM view_customer_search o
                   WHERE o.stream_id = gone.stream_id
                     AND o.project_no + 0 = gone.project_no
                  OFFSET 0) found))
), upserts AS (
    INSERT INTO view_customer_search AS v (
           created_at,
           updated_at,
           bucket,
           position,
           stream_id,
           project_no,
           customer_user_id,
           id_start,
           name_start,
           exact,
           haystack)
    SELECT u.created_at,
           u.updated_at,
           u.bucket,
           u.position,
           u.stream_id,
           u.project_no,
           u.customer_user_id,
           u.id_start,
           u.name_start,
           u.exact::bigint[],
           u.haystack
      FROM unnest($6::bigint[], $7::uuid[], $8::integer[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
                  $16::timestamptz[], $17::timestamptz[], $18::bigint[])
           AS u(position, stream_id, project_no, customer_user_id, id_start, name_start, haystack, exact, created_at,
                updated_at, bucket)
     WHERE (SELECT kept FROM fence)
        ON CONFLICT (project_no, customer_user_id) DO UPDATE
       SET created_at = EXCLUDED.created_at,
           updated_at = EXCLUDED.updated_at,
           bucket = EXCLUDED.bucket,
           position = EXCLUDED.position,
           stream_id = EXCLUDED.stream_id,
           id_start = EXCLUDED.id_start,
           name_start = EXCLUDED.name_start,
           exact = EXCLUDED.exact,
           haystack = EXCLUDED.haystack
     WHERE v.position <= EXCLUDED.position
)
SELECT kept
  FROM fence";
