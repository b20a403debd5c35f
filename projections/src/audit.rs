//! The projection `audit`: table `view_audit_events`, a row for each event of the log.
//!
//! It reads events closed, so it cannot hold anything personal, and it has a runner of its own: what is written does not
//! wait for it. [`list`] opens what a page needs.

mod fill;
mod list;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roster_domain::customer::{CustomerEvent, DataSource};
use roster_domain::event::StoredEvent;
use roster_domain::meta::Principal;
use roster_domain::value::SmolStr;
use roster_store::{Cell, Recorded, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

pub use list::{AuditFilter, AuditPage, AuditRow, list};

use crate::bucket::in_project;
use crate::pace::{Gather, Pace};
use crate::page::PageError;
use crate::runner::{IDLE, LEASE_SECONDS, Projection, Step};
use crate::status::Shared;

/// How long events are gathered when they trickle.
const GATHER: Gather = Gather {
    time: Duration::from_secs(1),
    events: 20_000,
};

pub(crate) struct Audit {
    cell: Cell,
    head: watch::Receiver<i64>,
    /// Whether the log is asked for events that this server has not heard of.
    looks: bool,
    pace: Pace,
}

impl Audit {
    pub(crate) fn new(
        cell: Cell,
        directory: Arc<Shared>,
        search: Arc<Shared>,
        own: Arc<Shared>,
    ) -> Self {
        Self {
            head: cell.head(),
            looks: true,
            pace: Pace::new(cell.clone(), directory, own, GATHER).after(search),
            cell,
        }
    }
}

/// What an event's row says beside what the log says in columns.
struct Entry {
    actor: String,
    changed: String,
}

impl Entry {
    fn of(recorded: &Recorded) -> Result<Self, PageError> {
        if recorded.name().is_none() {
            return Err(PageError::Unknown {
                type_no: recorded.type_no,
                type_version: recorded.type_version,
            });
        }
        let is_customer = CustomerEvent::TYPES
            .iter()
            .any(|known| known.type_no == recorded.type_no);
        let changed = if is_customer {
            let event = recorded
                .decode()
                .map_err(|error| PageError::decoding(recorded, error))?;
            changed_fields(&event)
        } else {
            Vec::new()
        };
        let meta = recorded.meta().map_err(|_| PageError::Poison {
            stream: recorded.stream,
            position: recorded.position,
            code: "malformed_meta",
        })?;
        Ok(Self {
            actor: actor(&meta.principal),
            changed: serde_json::to_string(&changed).unwrap_or_else(|_| "[]".into()),
        })
    }
}

/// Who acted, as the audit log and its filter spell it: `system`, `token`, or `api_key:` and the key's public id.
pub fn actor(principal: &Principal) -> String {
    match principal {
        Principal::System => "system".into(),
        Principal::Token => "token".into(),
        Principal::ApiKey(id) => format!("api_key:{id}"),
    }
}

/// What an update changed, as paths into the record. A registration changes nothing: everything is new.
fn changed_fields(event: &CustomerEvent) -> Vec<String> {
    let CustomerEvent::Updated {
        fields,
        enabled,
        connector_enabled,
        source,
        ..
    } = event
    else {
        return Vec::new();
    };
    paths(fields, *enabled, connector_enabled, source.as_ref())
}

/// The paths into the record that an update names.
pub(crate) fn paths(
    fields: &[SmolStr],
    enabled: Option<bool>,
    connector_enabled: &BTreeMap<String, bool>,
    source: Option<&DataSource>,
) -> Vec<String> {
    let profile = fields.iter().map(|name| format!("profile.{name}"));
    let connectors = connector_enabled
        .keys()
        .map(|channel| format!("connector_enabled.{channel}"));
    profile
        .chain(enabled.map(|_| "enabled".to_owned()))
        .chain(connectors)
        .chain(source.map(|_| "data_source".to_owned()))
        .collect()
}

fn type_key(project_no: i32, type_no: i16) -> i64 {
    in_project(project_no, &type_no.to_be_bytes())
}

fn actor_key(project_no: i32, actor: &str) -> i64 {
    in_project(project_no, actor.as_bytes())
}

impl Projection for Audit {
    const NAME: &'static str = "audit";
    const VERSION: i32 = 1;
    type Item = Recorded;

    fn forget(&mut self) {}

    async fn read(&mut self, after: i64, limit: i64) -> Result<Vec<Recorded>, StoreError> {
        let head = *self.head.borrow_and_update();
        if self.pace.must_wait(after) || (head <= after && !std::mem::take(&mut self.looks)) {
            return Ok(Vec::new());
        }
        self.cell.read_page_closed(after, limit).await
    }

    async fn wait(&mut self, position: i64) {
        let idle = Instant::now() + IDLE;
        let more = self.head.wait_for(|head| *head > position);
        // Another server's appends are seen by looking; a closed channel means the same.
        self.looks = !matches!(tokio::time::timeout_at(idle, more).await, Ok(Ok(_)));
        self.pace.wait(position, idle).await;
    }

    async fn apply(&mut self, page: &[&Recorded], step: Step) -> Result<(), PageError> {
        let begun = Instant::now();
        let (mut position, mut recorded_at, mut stream) = (vec![], vec![], vec![]);
        let (mut project, mut type_no, mut type_version) = (vec![], vec![], vec![]);
        let (mut actor_keys, mut type_keys) = (vec![], vec![]);
        let (mut actors, mut changed) = (vec![], vec![]);
        for recorded in page {
            let entry = Entry::of(recorded)?;
            position.push(recorded.position);
            recorded_at.push(recorded.recorded_at);
            stream.push(recorded.stream);
            project.push(recorded.project_no);
            type_no.push(recorded.type_no);
            type_version.push(recorded.type_version);
            actor_keys.push(actor_key(recorded.project_no, &entry.actor));
            type_keys.push(type_key(recorded.project_no, recorded.type_no));
            actors.push(entry.actor);
            changed.push(entry.changed);
        }
        let kept: bool = sqlx::query_scalar(ADVANCE)
            .bind(step.name)
            .bind(step.epoch)
            .bind(step.from)
            .bind(step.to)
            .bind(LEASE_SECONDS)
            .bind(position)
            .bind(recorded_at)
            .bind(actor_keys)
            .bind(type_keys)
            .bind(stream)
            .bind(project)
            .bind(type_no)
            .bind(type_version)
            .bind(actors)
            .bind(changed)
            .fetch_one(self.cell.pool())
            .await?;
        self.pace.wrote(begun);
        if kept { Ok(()) } else { Err(PageError::Fenced) }
    }

    async fn refold(&mut self, _: i32, stream: Uuid, step: Step) -> Result<(), PageError> {
        let events = self.cell.read_stream(stream, 0).await?;
        let events: Vec<&Recorded> = events
            .iter()
            .filter(|recorded| recorded.position <= step.to)
            .collect();
        self.apply(&events, step).await
    }
}

/// Writes rows and moves the checkpoint: all of it, or nothing where the lease was lost.
const ADVANCE: &str = "
WITH fence AS MATERIALIZED (
    SELECT log_advance_checkpoint($1, $2, $3, $4, $5) AS kept
), inserts AS (
    INSERT INTO view_audit_events (
           position,
           recorded_at,
           actor_key,
           type_key,
           stream_id,
           project_no,
           type_no,
           type_version,
           actor,
           changed_fields)
    SELECT e.position,
           e.recorded_at,
           e.actor_key,
           e.type_key,
           e.stream_id,
           e.project_no,
           e.type_no,
           e.type_version,
           e.actor,
           e.changed_fields::json
      FROM unnest($6::bigint[], $7::timestamptz[], $8::bigint[], $9::bigint[], $10::uuid[], $11::integer[],
                  $12::smallint[], $13::smallint[], $14::text[], $15::text[])
           AS e(position, recorded_at, actor_key, type_key, stream_id, project_no, type_no, type_version, actor,
                changed_fields)
     WHERE (SELECT kept FROM fence)
        ON CONFLICT DO NOTHING
)
SELECT kept
  FROM fence";
