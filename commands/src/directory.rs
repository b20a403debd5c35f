//! The directory of one cell: what every use case needs.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lru::LruCache;
use roster_domain::Timestamp;
use roster_store::{Cell, Project};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::clock::{Clock, Ids};
use crate::schema::KnownSchema;
use crate::sightings::Sightings;
use crate::sync::Syncing;
use crate::{AuditMode, CommandError, Context, UnmatchedLimits};

/// Customer ids whose stream is remembered; about 100 bytes each.
const KNOWN_IDS: usize = 65_536;
/// Projects whose compiled schema is remembered.
const KNOWN_SCHEMAS: usize = 1_024;

/// What a use case did.
#[derive(Clone, Debug)]
pub struct Applied<T> {
    /// The outcome.
    pub value: T,
    /// Where its last event stands; `None` where nothing was appended.
    pub position: Option<i64>,
    /// Whether this is the first answer of an earlier, identical request.
    pub replayed: bool,
}

impl<T> Applied<T> {
    /// An outcome that appended up to a position.
    pub const fn at(value: T, position: i64) -> Self {
        Self {
            value,
            position: Some(position),
            replayed: false,
        }
    }

    /// An outcome that appended nothing.
    pub const fn unchanged(value: T) -> Self {
        Self {
            value,
            position: None,
            replayed: false,
        }
    }

    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Applied<U> {
        Applied {
            value: change(self.value),
            position: self.position,
            replayed: self.replayed,
        }
    }
}

/// Limits of what one request may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one import, as decoded text; 2 GiB.
    pub import_bytes: u64,
    /// Customers up to which a schema change is checked within its request; 10,000.
    pub schema_in_request: usize,
    /// Unmatched identities.
    pub unmatched: UnmatchedLimits,
    /// Whether the answer to a dispatch waits for its record.
    pub audit: AuditMode,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            import_bytes: 2 << 30,
            schema_in_request: 10_000,
            unmatched: UnmatchedLimits::default(),
            audit: AuditMode::default(),
        }
    }
}

/// The use cases of one cell.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

/// Project number and claim key of a customer id.
pub(crate) type IdKey = (i32, Vec<u8>);

struct Shared {
    cell: Cell,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    limits: Limits,
    sightings: Arc<Sightings>,
    streams_by_id: Mutex<LruCache<IdKey, Uuid>>,
    schemas: Mutex<LruCache<i32, KnownSchema>>,
    syncing: OnceLock<Syncing>,
    job_started: Notify,
    job_ended: watch::Sender<Option<Uuid>>,
}

impl Directory {
    /// The directory of a cell.
    pub fn new(cell: Cell, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                cell,
                clock,
                ids,
                limits,
                sightings: Arc::new(Sightings::new(limits.unmatched)),
                streams_by_id: Mutex::new(LruCache::new(at_least_one(KNOWN_IDS))),
                schemas: Mutex::new(LruCache::new(at_least_one(KNOWN_SCHEMAS))),
                syncing: OnceLock::new(),
                job_started: Notify::new(),
                job_ended: watch::Sender::new(None),
            }),
        }
    }

    /// The same with what syncs read from; only the first call counts. Without it there are no sources.
    #[must_use]
    pub fn with_syncing(self, syncing: Syncing) -> Self {
        // A second set would be of the same server.
        let _ = self.shared.syncing.set(syncing);
        self
    }

    /// What syncs read from.
    pub(crate) fn syncing(&self) -> Option<&Syncing> {
        self.shared.syncing.get()
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.shared.cell
    }

    /// The clock that every command takes its time from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(crate) fn new_id(&self) -> Uuid {
        self.shared.ids.stream_id()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.shared.limits
    }

    pub(crate) fn sightings(&self) -> &Arc<Sightings> {
        &self.shared.sightings
    }

    /// Where customers were found by their id. A hint: only a fresh look-up or an append proves it.
    pub(crate) fn streams_by_id(&self) -> MutexGuard<'_, LruCache<IdKey, Uuid>> {
        self.shared
            .streams_by_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiled schemas by project, and when each was looked at.
    pub(crate) fn schemas(&self) -> MutexGuard<'_, LruCache<i32, KnownSchema>> {
        self.shared
            .schemas
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings when a job of this process was started.
    pub(crate) fn job_started(&self) -> &Notify {
        &self.shared.job_started
    }

    /// The last job of this process that came to an end.
    pub(crate) fn job_ended(&self) -> &watch::Sender<Option<Uuid>> {
        &self.shared.job_ended
    }

    /// The project of an authorised write, created where it was never written to.
    pub(crate) async fn writable(&self, ctx: &Context) -> Result<Arc<Project>, CommandError> {
        match self.cell().project(&ctx.scope).await? {
            Some(project) => Ok(project),
            None => Ok(self
                .cell()
                .create_project(&ctx.scope, self.new_id())
                .await?),
        }
    }
}

fn at_least_one(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN)
}
