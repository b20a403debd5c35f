//! What is known of each projection: for readiness, metrics and those who wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roster_store::StoreError;

use crate::page::{PageError, code_of};
use crate::progress::Progress;

/// How one projection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// The version of its tables that this build writes.
    pub version: i32,
    /// The last position that can be read; -1 before the first look.
    pub position: i64,
    /// The last position of the log that this server knows of.
    pub head: i64,
    /// Events that are not applied yet.
    pub lag: i64,
    /// Streams that are left out because one of their events failed.
    pub parked_streams: usize,
    /// Whether counts are wrong, because streams are left out.
    pub stale: bool,
    /// Who runs it, as far as this server knows.
    pub owner: Option<String>,
    /// Why it does not get on, as a stable word such as `log_damaged` or `sqlstate_23505`.
    pub error: Option<String>,
}

/// What a runner shares with those who ask.
pub(crate) struct Shared {
    pub(crate) name: &'static str,
    pub(crate) version: i32,
    pub(crate) progress: Progress,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    owner: Option<String>,
    parked: usize,
    error: Option<String>,
}

impl Shared {
    pub(crate) fn new(name: &'static str, version: i32) -> Self {
        Self {
            name,
            version,
            progress: Progress::new(),
            known: Mutex::default(),
        }
    }

    pub(crate) fn status(&self, head: i64) -> ProjectionStatus {
        let position = self.progress.position();
        let known = self.known();
        ProjectionStatus {
            name: self.name,
            version: self.version,
            position,
            head: head.max(position),
            lag: (head - position.max(0)).max(0),
            parked_streams: known.parked,
            stale: known.parked > 0,
            owner: known.owner.clone(),
            error: known.error.clone(),
        }
    }

    pub(crate) fn lead(&self, owner: &str) {
        let mut known = self.known();
        known.owner = Some(owner.into());
        known.error = None;
        tracing::info!(projection = self.name, "runs here");
    }

    pub(crate) fn resign(&self) {
        self.known().owner = None;
    }

    pub(crate) fn follow(&self, owner: Option<&str>) {
        let mut known = self.known();
        known.owner = owner.map(str::to_owned);
        known.error = None;
    }

    /// The rows were written by another version of the projection.
    pub(crate) fn refuse(&self, stored: i32) {
        let error = format!("written_by_version_{stored}");
        if self.known().error.as_ref() != Some(&error) {
            tracing::error!(
                projection = self.name,
                stored,
                built = self.version,
                "the tables need a rebuild"
            );
            self.known().error = Some(error);
        }
    }

    pub(crate) fn parked(&self, streams: usize) {
        self.known().parked = streams;
        metrics::gauge!("roster_projection_parked_streams", "projection" => self.name)
            .set(as_float(streams));
    }

    pub(crate) fn fail(&self, doing: &'static str, error: &StoreError) {
        self.note(doing, code_of(error));
    }

    pub(crate) fn fail_page(&self, error: &PageError) {
        self.note("apply", error.code());
    }

    fn note(&self, doing: &'static str, code: String) {
        let mut known = self.known();
        if known.error.as_ref() != Some(&code) {
            tracing::error!(projection = self.name, doing, code, "does not get on");
            known.error = Some(code);
        }
    }

    pub(crate) fn recover(&self) {
        let mut known = self.known();
        if let Some(error) = known.error.take() {
            tracing::info!(projection = self.name, after = error, "gets on again");
        }
    }

    pub(crate) fn page(&self, events: usize, took: Duration) {
        metrics::histogram!("roster_projection_page_seconds", "projection" => self.name)
            .record(took.as_secs_f64());
        metrics::counter!("roster_projection_events_total", "projection" => self.name)
            .increment(u64::try_from(events).unwrap_or(u64::MAX));
    }

    /// Sets the gauges of position and lag.
    pub(crate) fn measure(&self, head: i64) {
        let status = self.status(head);
        metrics::gauge!("roster_projection_position", "projection" => self.name)
            .set(as_float(status.position));
        metrics::gauge!("roster_projection_lag_events", "projection" => self.name)
            .set(as_float(status.lag));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; counts stay below 2^52"
)]
pub(crate) fn as_float(number: impl TryInto<i64>) -> f64 {
    number.try_into().unwrap_or(i64::MAX) as f64
}
