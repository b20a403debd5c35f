//! The loop that runs what goes on after a request was answered: imports, purges, syncs, preparations, and the sweeps.
//!
//! Jobs are found in the log by the claims that unfinished ones hold, so a job of a server that went is found by the next.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roster_domain::stream::kind;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::sync::SyncOptions;
use crate::{CommandError, Directory};

/// How long a worker may be silent before another one takes its job.
pub(crate) const LEASE_SECONDS: f64 = 30.0;
/// How long failures of a job are kept after its end; 30 days.
pub(crate) const RETENTION_SECONDS: f64 = 30.0 * 86_400.0;
/// Failed runs of a job that are taken for bad luck.
const FAILURES: u32 = 20;

/// The kinds of stream that are run here.
const KINDS: [i16; 4] = [kind::IMPORT, kind::PREPARATION, kind::PURGE, kind::SYNC_RUN];

/// How jobs run.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions {
    /// How often the log is asked for jobs that another server left; 3 s.
    pub poll: Duration,
    /// How often what is expired is swept; 10 minutes.
    pub sweep: Duration,
    /// Imports and preparations that run at once, and purges beside them; 2.
    pub at_once: usize,
    /// A pause after each chunk of an import, for tests that stop one half-way.
    pub chunk_pause: Option<Duration>,
    /// The same for purges.
    pub purge_pause: Option<Duration>,
    /// How patient syncs are.
    pub sync: SyncOptions,
    /// How long dispatches are kept, in days; 90.
    pub journal_days: u16,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(3),
            sweep: Duration::from_mins(10),
            at_once: 2,
            chunk_pause: None,
            purge_pause: None,
            sync: SyncOptions::default(),
            journal_days: 90,
        }
    }
}

/// How a run of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// The job is over.
    Ended,
    /// Another worker has it.
    Elsewhere,
    /// The server stops; the job goes on at the next start.
    Stopped,
}

/// The jobs of one server.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    directory: Directory,
    options: JobOptions,
    tracker: TaskTracker,
    stop: CancellationToken,
    places: Semaphore,
    /// Purges are short, and need not wait for imports.
    purge_places: Semaphore,
    /// Syncs mostly wait for their sources.
    sync_places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashSet<Uuid>,
    failures: HashMap<Uuid, u32>,
}

impl Jobs {
    /// Starts to look for jobs and to run them, until the stop.
    pub fn start(
        directory: Directory,
        options: JobOptions,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            directory,
            options,
            tracker,
            stop,
            places: Semaphore::new(options.at_once.max(1)),
            purge_places: Semaphore::new(options.at_once.max(1)),
            sync_places: Semaphore::new(options.sync.at_once.max(1)),
            state: Mutex::default(),
        };
        let jobs = Self {
            shared: Arc::new(shared),
        };
        jobs.shared.tracker.spawn(jobs.clone().look());
        jobs.shared.tracker.spawn(jobs.clone().sweep());
        let Shared {
            directory, stop, ..
        } = &*jobs.shared;
        let sightings = directory.clone().write_sightings(stop.clone());
        jobs.shared.tracker.spawn(sightings);
        jobs
    }

    /// Jobs that this server has taken on and that have not ended.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(self) {
        let Shared {
            directory,
            options,
            stop,
            ..
        } = &*self.shared;
        loop {
            // Somebody may wait for a job; a run that is due tells this loop itself.
            match directory.cell().open_jobs(&KINDS).await {
                Ok(jobs) => jobs
                    .into_iter()
                    .for_each(|(kind, project_no, id)| self.take_on(kind, project_no, id)),
                Err(error) => tracing::warn!(%error, "jobs could not be looked up"),
            }
            if let Err(error) = directory.queue_due_runs().await {
                tracing::warn!(%error, "schedules could not be looked up");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = directory.job_started().notified() => {}
                () = tokio::time::sleep(options.poll) => {}
            }
        }
    }

    fn take_on(&self, kind: i16, project_no: i32, id: Uuid) {
        if self.shared.stop.is_cancelled() || !self.state().running.insert(id) {
            return;
        }
        let jobs = self.clone();
        self.shared.tracker.spawn(async move {
            let ran = jobs.run(kind, project_no, id).await;
            jobs.note(id, ran);
        });
    }

    async fn run(&self, kind: i16, project_no: i32, id: Uuid) -> Result<Ran, CommandError> {
        let Shared {
            directory,
            options,
            stop,
            places,
            purge_places,
            sync_places,
            ..
        } = &*self.shared;
        let places = match kind {
            kind::PURGE => purge_places,
            kind::SYNC_RUN => sync_places,
            _ => places,
        };
        let _place = tokio::select! {
            place = places.acquire() => place.map_err(|_| CommandError::Unavailable)?,
            () = stop.cancelled() => return Ok(Ran::Stopped),
        };
        let project = directory.cell().project_by_no(project_no).await?;
        let project = project.ok_or(CommandError::internal("a job of an unknown project"))?;
        let has_failed = self
            .state()
            .failures
            .get(&id)
            .is_some_and(|failures| *failures >= FAILURES);
        match kind {
            kind::IMPORT if has_failed => directory.abandon_import(&project, id).await,
            kind::IMPORT => directory.run_import(&project, id, options, stop).await,
            kind::PURGE => {
                let run = directory.run_purge(&project, id, options, has_failed, stop);
                run.await
            }
            kind::SYNC_RUN => {
                let run = directory.run_sync(&project, id, options.sync, has_failed, stop);
                run.await
            }
            _ => directory.run_preparation(&project, id, stop).await,
        }
    }

    fn note(&self, id: Uuid, ran: Result<Ran, CommandError>) {
        let mut state = self.state();
        state.running.remove(&id);
        match ran {
            Ok(_) => {
                state.failures.remove(&id);
            }
            Err(error) => {
                let is_internal = matches!(error, CommandError::Internal(_));
                *state.failures.entry(id).or_default() += u32::from(is_internal);
                tracing::warn!(job = %id, %error, "a job was interrupted and will be tried again");
            }
        }
    }

    async fn sweep(self) {
        let Shared {
            directory,
            options,
            stop,
            ..
        } = &*self.shared;
        loop {
            let started = Instant::now();
            let swept = async {
                directory.cell().sweep_answers().await?;
                let kept = i32::from(options.journal_days);
                directory.cell().keep_journal(kept).await?;
                directory.sweep_unmatched().await?;
                directory.sweep_jobs().await
            };
            if let Err(error) = swept.await {
                tracing::warn!(%error, "the sweep was interrupted and will be tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(started + options.sweep) => {}
            }
        }
    }
}
