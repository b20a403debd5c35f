//! Writing the copy: what was appended since, and what was erased since.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cqrs_es::persist::{PersistenceError, SerializedEvent};
use roster_domain::meta::Principal;
use serde_json::{Value, json};
use sqlx::Executor;
use uuid::Uuid;

use super::{AuditCopy, AuditError};
use crate::kinds::Kind;
use crate::{Cell, Project, Recorded, StoreError};

/// Events that are read at once, and the most of one transaction there.
const PAGE: i64 = 1_000;

/// Replaces events whose person was erased since; what is as it should be is not touched.
const REWRITE: &str = "
UPDATE events e
   SET payload = w.payload::jsonb,
       metadata = w.metadata::jsonb
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
       AS w(aggregate_type, aggregate_id, sequence, payload, metadata)
 WHERE e.aggregate_type = w.aggregate_type
   AND e.aggregate_id = w.aggregate_id
   AND e.sequence = w.sequence
   AND (e.payload::jsonb <> w.payload::jsonb OR e.metadata::jsonb <> w.metadata::jsonb)";

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Events that were written.
    pub events: u64,
    /// Events that were there and lost their personal values.
    pub rewritten: u64,
    /// Up to where the copy goes.
    pub position: i64,
}

/// Brings the copy to the present head; `progress` gets the events done and their number. It can be stopped at any moment.
pub async fn export(
    cell: &Cell,
    copy: &AuditCopy,
    mut progress: impl FnMut(i64, i64),
) -> Result<Exported, AuditError> {
    copy.create().await?;
    let from = copy.position(cell).await?;
    let head = cell.head_position().await?;
    let mut writer = Writer {
        cell,
        copy,
        epoch: cell.epoch().await?.to_string(),
        projects: HashMap::new(),
    };
    let mut exported = Exported {
        position: from,
        ..Exported::default()
    };
    while exported.position < head {
        let limit = PAGE.min(head - exported.position);
        let page = cell.read_page(exported.position, limit).await?;
        let Some(last) = page.last().map(|recorded| recorded.position) else {
            break;
        };
        // Before the event that ended a stream is in the copy, so that having it means that this was done.
        exported.rewritten += writer.erase(&page).await?;
        exported.events += writer.write(&page).await?;
        exported.position = last;
        progress(last - from, head - from);
    }
    if exported.rewritten > 0 {
        // The old values stay in the table's pages until then.
        copy.pool.execute("VACUUM events").await?;
    }
    Ok(exported)
}

struct Writer<'a> {
    cell: &'a Cell,
    copy: &'a AuditCopy,
    epoch: String,
    projects: HashMap<i32, Option<Arc<Project>>>,
}

impl Writer<'_> {
    /// Writes a page in runs of one aggregate, in the order of positions.
    async fn write(&mut self, page: &[Recorded]) -> Result<u64, AuditError> {
        let mut run: Vec<SerializedEvent> = Vec::new();
        let mut of: Option<&'static Kind> = None;
        let mut written = 0;
        for recorded in page {
            let kind = kind_of(recorded)?;
            if let Some(before) = of.filter(|before| before.no != kind.no) {
                written += self.persist(before, &std::mem::take(&mut run)).await?;
            }
            of = Some(kind);
            run.push(self.serialize(kind, recorded).await?);
        }
        if let Some(kind) = of {
            written += self.persist(kind, &run).await?;
        }
        Ok(written)
    }

    async fn persist(&self, kind: &Kind, run: &[SerializedEvent]) -> Result<u64, AuditError> {
        match (kind.persist)(&self.copy.repository, run).await {
            Ok(()) => Ok(run.len() as u64),
            Err(PersistenceError::OptimisticLockError) => Err(AuditError::Raced),
            Err(error) => Err(error.into()),
        }
    }

    /// Rewrites what the copy has of streams that end in a page: their keys are gone, so they now read as erased.
    async fn erase(&mut self, page: &[Recorded]) -> Result<u64, AuditError> {
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return Ok(0);
        };
        let ended = self.cell.ended(first.position, last.position).await?;
        let mut rewritten = 0;
        for some in ended.chunks(100) {
            let events = self.cell.read_before(some, first.position).await?;
            rewritten += self.rewrite(&events).await?;
        }
        Ok(rewritten)
    }

    async fn rewrite(&mut self, events: &[Recorded]) -> Result<u64, AuditError> {
        let (mut types, mut ids, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
        let (mut payloads, mut metadata) = (Vec::new(), Vec::new());
        for recorded in events {
            let event = self.serialize(kind_of(recorded)?, recorded).await?;
            types.push(event.aggregate_type);
            ids.push(event.aggregate_id);
            sequences.push(i64::from(recorded.version));
            payloads.push(event.payload.to_string());
            metadata.push(event.metadata.to_string());
        }
        let rewritten = sqlx::query(REWRITE)
            .bind(types)
            .bind(ids)
            .bind(sequences)
            .bind(payloads)
            .bind(metadata)
            .execute(&self.copy.pool)
            .await?;
        Ok(rewritten.rows_affected())
    }

    async fn serialize(
        &mut self,
        kind: &Kind,
        recorded: &Recorded,
    ) -> Result<SerializedEvent, AuditError> {
        let event = (kind.decoded)(recorded)?;
        Ok(SerializedEvent {
            aggregate_id: recorded.stream.to_string(),
            sequence: usize::try_from(recorded.version).unwrap_or_default(),
            aggregate_type: kind.aggregate_type.to_owned(),
            event_type: event.name,
            event_version: event.version,
            payload: event.payload,
            metadata: self.metadata(recorded).await?,
        })
    }

    /// The framework reads metadata as a map of text.
    async fn metadata(&mut self, recorded: &Recorded) -> Result<Value, AuditError> {
        let meta = recorded.meta()?;
        let mut words = BTreeMap::from([
            ("cell", self.cell.name().to_owned()),
            ("epoch", self.epoch.clone()),
            ("position", recorded.position.to_string()),
            ("recorded_at", recorded.recorded_at.to_rfc3339()),
            ("request_id", meta.request_id),
        ]);
        if let Some(project) = self.project(recorded.project_no).await? {
            words.insert("account_id", project.scope.account_id.clone());
            words.insert("org_id", project.scope.org_id.clone());
            words.insert("project_id", project.scope.project_id.clone());
        }
        let (principal, key_id) = match meta.principal {
            Principal::System => ("system", None),
            Principal::ApiKey(id) => ("api_key", Some(id)),
            Principal::Token => ("token", None),
        };
        words.insert("principal", principal.to_owned());
        let optional = [
            ("key_id", key_id),
            ("traceparent", meta.traceparent),
            ("subject", meta.subject.into_known()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                words.insert(name, value);
            }
        }
        Ok(json!(words))
    }

    async fn project(&mut self, no: i32) -> Result<Option<Arc<Project>>, AuditError> {
        if let Some(known) = self.projects.get(&no) {
            return Ok(known.clone());
        }
        let found = self.cell.project_by_no(no).await?;
        self.projects.insert(no, found.clone());
        Ok(found)
    }
}

fn kind_of(recorded: &Recorded) -> Result<&'static Kind, StoreError> {
    Kind::of_type(recorded.type_no, recorded.type_version).ok_or(StoreError::Decode {
        position: recorded.position,
        source: roster_domain::event::DecodeError::UnknownType {
            type_no: recorded.type_no,
            type_version: recorded.type_version,
        },
    })
}

impl Cell {
    /// The streams that ended for ever between two positions.
    async fn ended(&self, first: i64, last: i64) -> Result<Vec<Uuid>, StoreError> {
        let (numbers, versions): (Vec<i16>, Vec<i16>) = Kind::all_closing().into_iter().unzip();
        Ok(sqlx::query_scalar(
            "SELECT stream_id
               FROM log_events
              WHERE position BETWEEN $1 AND $2
                AND EXISTS (SELECT FROM unnest($3::smallint[], $4::smallint[]) AS closing(type_no, type_version)
                             WHERE closing.type_no = log_events.type_no
                               AND closing.type_version = log_events.type_version)",
        )
        .bind(first)
        .bind(last)
        .bind(numbers)
        .bind(versions)
        .fetch_all(self.pool())
        .await?)
    }
}
