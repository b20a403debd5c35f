//! The projection `directory`: customers, data-source counts, field names, links, grants, blocks, schemas, preparations, imports,
//! suppressions, purges,
//! connections and their runs.
//!
//! They are applied in order under one checkpoint, so that an import that reads as completed has its customers listed.
//! The tables that every customer change touches are written by one autocommit statement that also moves the checkpoint;
//! a page that touches others too writes them beside it, in one transaction with the same statement.

mod fill;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::connection::ConnectionEvent;
use roster_domain::customer::{Customer, CustomerEvent};
use roster_domain::event::StoredEvent;
use roster_domain::identity::IdentityEvent;
use roster_domain::import::ImportEvent;
use roster_domain::preparation::PreparationEvent;
use roster_domain::purge::PurgeEvent;
use roster_domain::schema::SchemaEvent;
use roster_domain::suppression::SuppressionEvent;
use roster_domain::sync_run::SyncRunEvent;
use roster_store::{Cell, Recorded, StoreError};
use sqlx::{Executor, Postgres, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

use crate::blocks::Blocks;
use crate::connections::Connections;
use crate::customers::fold::{Change, FieldNames, Folded, Listed, Needed, fold, needed};
use crate::customers::write::{Arrays, present};
use crate::data_sources::Counts;
use crate::grants::Grants;
use crate::identities::Identities;
use crate::imports::Imports;
use crate::page::PageError;
use crate::parked;
use crate::preparations::Preparations;
use crate::purges::Purges;
use crate::runner::ahead::Ahead;
use crate::runner::{IDLE, Item, LEASE_SECONDS, Projection, Step};
use crate::schemas::Schemas;
use crate::search::Search;
use crate::search::touched::{Touch, Touched};
use crate::suppressions::Suppressions;
use crate::sync_runs::SyncRuns;

/// Customers that change often need no read before they are written.
const CACHED_ROWS: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");
/// Field names that are known to be stored; beyond it they are written again.
const KNOWN_FIELDS: usize = 100_000;

impl Item for Recorded {
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
        self.name() == Some("customer.erased")
    }
}

pub(crate) struct Directory {
    cell: Cell,
    head: watch::Receiver<i64>,
    /// Whether the log is asked for events that this server has not heard of.
    looks: bool,
    ahead: Ahead,
    touched: Arc<Touched>,
    rows: LruCache<Uuid, Listed>,
    known_fields: FieldNames,
    schemas: Schemas,
    preparations: Preparations,
    imports: Imports,
    suppressions: Suppressions,
    purges: Purges,
    connections: Connections,
    sync_runs: SyncRuns,
    identities: Identities,
    grants: Grants,
    blocks: Blocks,
    /// Counts and field names of a rebuild, which are written when all are known.
    totals: Folded,
}

impl Directory {
    pub(crate) fn new(cell: Cell, touched: Arc<Touched>) -> Self {
        Self {
            head: cell.head(),
            looks: true,
            ahead: Ahead::new(cell.clone()),
            cell,
            touched,
            rows: LruCache::new(CACHED_ROWS),
            known_fields: FieldNames::default(),
            schemas: Schemas::new(),
            preparations: Preparations::new(),
            imports: Imports::new(),
            suppressions: Suppressions::new(),
            purges: Purges::new(),
            connections: Connections::default(),
            sync_runs: SyncRuns::new(),
            identities: Identities::default(),
            grants: Grants::default(),
            blocks: Blocks::default(),
            totals: Folded::default(),
        }
    }

    /// Decodes: customers come back, the others' rows are collected.
    async fn sort(&mut self, page: &[&Recorded]) -> Result<Vec<Change>, PageError> {
        self.schemas.clear();
        self.preparations.clear();
        self.imports.clear();
        self.suppressions.clear();
        self.purges.clear();
        self.connections.clear();
        self.sync_runs.clear();
        self.identities.clear();
        self.grants.clear();
        self.blocks.clear();
        let mut changes = Vec::with_capacity(page.len());
        for recorded in page {
            let unreadable = |error| PageError::decoding(recorded, error);
            if is::<CustomerEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.recall(recorded);
                self.identities.collect(recorded, &event);
                self.grants.collect(recorded, &event);
                self.blocks.collect(recorded, &event);
                changes.push(Change {
                    position: recorded.position,
                    project_no: recorded.project_no,
                    stream: recorded.stream,
                    event,
                });
            } else if is::<ImportEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.imports.collect(&self.cell, recorded, event).await?;
            } else if is::<PurgeEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.purges.collect(&self.cell, recorded, event).await?;
            } else if is::<SyncRunEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.sync_runs.collect(&self.cell, recorded, event).await?;
            } else if is::<ConnectionEvent>(recorded) {
                self.connections
                    .collect(recorded, recorded.decode().map_err(unreadable)?);
            } else if is::<SuppressionEvent>(recorded) {
                self.suppressions
                    .collect(recorded, &recorded.decode().map_err(unreadable)?);
            } else if is::<SchemaEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.schemas.collect(recorded, event);
            } else if is::<ChannelAccessEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.grants.collect_wildcard(recorded, event);
            } else if is::<IdentityEvent>(recorded) {
                // What it says of blocks is in the customer's events too; the rest is read from the streams.
            } else if is::<PreparationEvent>(recorded) {
                let event = recorded.decode().map_err(unreadable)?;
                self.preparations
                    .collect(&self.cell, recorded, event)
                    .await?;
            } else {
                let (type_no, type_version) = (recorded.type_no, recorded.type_version);
                return Err(PageError::Unknown {
                    type_no,
                    type_version,
                });
            }
        }
        Ok(changes)
    }

    /// Remembers the row of a customer as it was before an event, where the log still has that in memory.
    fn recall(&mut self, recorded: &Recorded) {
        if let Some(before) = recorded.state_before::<Customer>()
            && !self.rows.contains(&recorded.stream)
        {
            let row = Listed::before(recorded, before);
            self.rows.put(recorded.stream, row);
        }
    }

    /// The present rows of the customers that change: remembered, or read with one statement.
    async fn present(&mut self, changes: &[Change]) -> Result<HashMap<Uuid, Listed>, PageError> {
        let mut rows = HashMap::new();
        let mut missing = Vec::new();
        for needed in needed(changes) {
            match self.rows.pop(&needed.stream) {
                Some(row) => {
                    rows.insert(needed.stream, row);
                }
                None => missing.push(needed),
            }
        }
        if !missing.is_empty() {
            rows.extend(present(self.cell.pool(), missing.into_iter()).await?);
        }
        Ok(rows)
    }

    /// Writes what is not about customers, if there is anything, and leaves the transaction open: links and grants come
    /// after the customers.
    async fn write_others(&self) -> Result<Option<Transaction<'static, Postgres>>, PageError> {
        let nothing = self.schemas.is_empty()
            && self.preparations.is_empty()
            && self.imports.is_empty()
            && self.suppressions.is_empty()
            && self.purges.is_empty()
            && self.connections.is_empty()
            && self.sync_runs.is_empty()
            && self.identities.is_empty()
            && self.grants.is_empty()
            && self.blocks.is_empty();
        if nothing {
            return Ok(None);
        }
        let mut transaction = self
            .cell
            .pool()
            .begin_with("BEGIN; SET LOCAL synchronous_commit = off")
            .await?;
        self.schemas.write(&mut transaction).await?;
        self.preparations.write(&mut transaction).await?;
        self.imports.write(&mut transaction).await?;
        self.suppressions.write(&mut transaction).await?;
        self.purges.write(&mut transaction).await?;
        self.connections.write(&mut transaction).await?;
        self.sync_runs.write(&mut transaction).await?;
        Ok(Some(transaction))
    }

    async fn write(&mut self, mut folded: Folded, step: Step) -> Result<(), PageError> {
        folded.fields.remove(&self.known_fields);
        if let Some(mut transaction) = self.write_others().await? {
            advance(&mut *transaction, &folded, step).await?;
            self.identities.write(&mut transaction, &folded).await?;
            self.identities
                .write_matched(&self.cell, &mut transaction)
                .await?;
            self.grants.write(&mut transaction).await?;
            self.blocks.write(&mut transaction).await?;
            transaction.commit().await?;
        } else {
            advance(self.cell.pool(), &folded, step).await?;
        }
        if self.known_fields.len() > KNOWN_FIELDS {
            self.known_fields.clear();
        }
        self.known_fields.absorb(folded.fields);
        for (stream, row) in folded.upserts {
            self.rows.put(stream, row);
        }
        Ok(())
    }
}

fn is<E: StoredEvent>(recorded: &Recorded) -> bool {
    E::TYPES
        .iter()
        .any(|known| known.type_no == recorded.type_no)
}

impl Projection for Directory {
    const NAME: &'static str = "directory";
    const VERSION: i32 = 1;
    const SCRUB: &'static [(&'static str, &'static str)] = &[
        (
            "view_customers",
            "UPDATE {table}
                SET customer_user_id = stream_id::text,
                    display_name = '',
                    profile = '{}',
                    source_external_id = NULL
              WHERE stream_id = ANY ($1)",
        ),
        (
            "view_identities",
            "DELETE FROM {table} WHERE stream_id = ANY ($1)",
        ),
        (
            "view_grants",
            "DELETE FROM {table} WHERE stream_id = ANY ($1)",
        ),
        (
            "view_blocks",
            "DELETE FROM {table} WHERE stream_id = ANY ($1)",
        ),
    ];
    type Item = Recorded;

    fn forget(&mut self) {
        self.ahead.forget();
        self.rows.clear();
        self.known_fields.clear();
        self.preparations.forget();
        self.imports.forget();
        self.purges.forget();
        self.sync_runs.forget();
    }

    async fn read(&mut self, after: i64, limit: i64) -> Result<Vec<Recorded>, StoreError> {
        // Marked as seen first, so that an append during the read wakes the next wait.
        let head = *self.head.borrow_and_update();
        if head <= after && !std::mem::take(&mut self.looks) {
            return Ok(Vec::new());
        }
        self.ahead.read(after, limit).await
    }

    async fn wait(&mut self, position: i64) {
        let more = self.head.wait_for(|head| *head > position);
        // Another server's appends are seen by looking; a closed channel means the same.
        self.looks = !matches!(tokio::time::timeout(IDLE, more).await, Ok(Ok(_)));
    }

    async fn apply(&mut self, page: &[&Recorded], step: Step) -> Result<(), PageError> {
        let changes = self.sort(page).await?;
        let rows = self.present(&changes).await?;
        self.write(fold(changes, rows), step).await?;
        self.touched.push(
            step.from,
            page.iter().map(|recorded| Touch::of(recorded)),
            step.to,
        );
        Ok(())
    }

    async fn refold(&mut self, project_no: i32, stream: Uuid, step: Step) -> Result<(), PageError> {
        let events = self.cell.read_stream(stream, 0).await?;
        let events: Vec<&Recorded> = events
            .iter()
            .filter(|recorded| recorded.position <= step.to)
            .collect();
        self.rows.pop(&stream);
        let changes = self.sort(&events).await?;
        let rows = present(
            self.cell.pool(),
            std::iter::once(Needed::row(project_no, stream)),
        )
        .await?;
        self.write(fold(changes, rows), step).await?;
        Ok(parked::hand_on(self.cell.pool(), Search::NAME, stream, project_no, step.to).await?)
    }
}

/// Writes customers, counts and field names, and moves the checkpoint: all of it, or nothing where the lease was lost.
///
/// $1 to $5 name, epoch, from, to, lease seconds; $6 to $22 rows; $23 and $24 rows that go; $25 to $31 counts; $32 and $33
/// field names.
const ADVANCE: &str = "
WITH fence AS MATERIALIZED (
    SELECT log_advance_checkpoint($1, $2, $3, $4, $5) AS kept
), upserts AS (
    INSERT INTO view_customers AS v (
           created_at,
           updated_at,
           bucket,
           position,
           stream_id,
           project_no,
           version,
           source_kind,
           enabled,
           customer_user_id,
           display_name,
           profile,
           connector_enabled,
           source_provider,
           source_connection,
           source_external_id,
           source_synced_at)
    SELECT u.created_at,
           u.updated_at,
           u.bucket,
           u.position,
           u.stream_id,
           u.project_no,
           u.version,
           u.source_kind,
           u.enabled,
           u.customer_user_id,
           u.display_name,
           u.profile::json,
           u.connector_enabled::jsonb,
           u.source_provider,
           u.source_connection,
           u.source_external_id,
           u.source_synced_at
      FROM unnest($6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::bigint[], $10::uuid[], $11::integer[],
                  $12::integer[], $13::smallint[], $14::boolean[], $15::text[], $16::text[], $17::text[], $18::text[],
                  $19::text[], $20::text[], $21::text[], $22::timestamptz[])
           AS u(created_at, updated_at, bucket, position, stream_id, project_no, version, source_kind, enabled,
                customer_user_id, display_name, profile, connector_enabled, source_provider, source_connection,
                source_external_id, source_synced_at)
     WHERE (SELECT kept FROM fence)
        ON CONFLICT (project_no, customer_user_id) DO UPDATE
       SET created_at = EXCLUDED.created_at,
           updated_at = EXCLUDED.updated_at,
           bucket = EXCLUDED.bucket,
           position = EXCLUDED.position,
           stream_id = EXCLUDED.stream_id,
           version = EXCLUDED.version,
           source_kind = EXCLUDED.source_kind,
           enabled = EXCLUDED.enabled,
           display_name = EXCLUDED.display_name,
           profile = EXCLUDED.profile,
           connector_enabled = EXCLUDED.connector_enabled,
           source_provider = EXCLUDED.source_provider,
           source_connection = EXCLUDED.source_connection,
           source_external_id = EXCLUDED.source_external_id,
           source_synced_at = EXCLUDED.source_synced_at
     WHERE v.position <= EXCLUDED.position
), deletes AS (
    DELETE FROM view_customers v
     WHERE (SELECT kept FROM fence)
       AND v.ctid = ANY (ARRAY(
           SELECT found.ctid
             FROM unnest($23::integer[], $24::uuid[]) AS gone(project_no, stream_id)
            CROSS JOIN LATERAL (
                  SELECT o.ctid
                    FROM view_customers o
                   WHERE o.stream_id = gone.stream_id
                     AND o.project_no + 0 = gone.project_no
                  OFFSET 0) found))
), counts AS (
    INSERT INTO view_data_sources AS d (
           project_no,
           source_kind,
           source_provider,
           source_connection,
           count,
           enabled_count,
           last_upserted_at,
           position)
    SELECT c.project_no,
           c.source_kind,
           c.source_provider,
           c.source_connection,
           c.count,
           c.enabled_count,
           COALESCE(c.upserted_at, 'epoch'),
           $4
      FROM unnest($25::integer[], $26::smallint[], $27::text[], $28::text[], $29::bigint[], $30::bigint[],
                  $31::timestamptz[])
           AS c(project_no, source_kind, source_provider, source_connection, count, enabled_count, upserted_at)
     WHERE (SELECT kept FROM fence)
        ON CONFLICT (project_no, source_kind, source_provider, source_connection) DO UPDATE
       SET count = d.count + EXCLUDED.count,
           enabled_count = d.enabled_count + EXCLUDED.enabled_count,
           last_upserted_at = GREATEST(d.last_upserted_at, EXCLUDED.last_upserted_at),
           position = EXCLUDED.position
), fields AS (
    INSERT INTO view_profile_fields (project_no, name)
    SELECT f.project_no,
           f.name
      FROM unnest($32::integer[], $33::text[]) AS f(project_no, name)
     WHERE (SELECT kept FROM fence)
        ON CONFLICT DO NOTHING
)
SELECT kept
  FROM fence";

async fn advance<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    folded: &Folded,
    step: Step,
) -> Result<(), PageError> {
    let query = sqlx::query_scalar(ADVANCE);
    let (projects, names): (Vec<i32>, Vec<&str>) = folded.fields.iter().unzip();
    let query = query
        .bind(step.name)
        .bind(step.epoch)
        .bind(step.from)
        .bind(step.to)
        .bind(LEASE_SECONDS);
    let query = Counts::of(folded)
        .bind(Arrays::of(folded).bind(query))
        .bind(projects)
        .bind(names);
    let kept: bool = query.fetch_one(executor).await?;
    if kept { Ok(()) } else { Err(PageError::Fenced) }
}
