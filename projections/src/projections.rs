//! The projections of one cell: start, wait, status.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roster_store::Cell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::customers::{Filter, Totals};
use crate::directory::Directory;
use crate::erasures::Erasures;
use crate::runner::{Projection, Runner};
use crate::search::Search;
use crate::search::touched::Touched;
use crate::status::{ProjectionStatus, Shared};

/// How often position and lag are measured.
const MEASURED: Duration = Duration::from_secs(1);

/// How the projections are run.
#[derive(Clone, Debug, Default)]
pub struct ProjectionOptions {
    /// The name of this server in leases: no two servers of a cell may share one.
    pub owner: String,
    /// The file of the erasure ledger; without one this server writes none.
    pub erasure_ledger: Option<PathBuf>,
}

/// The running projections of a cell.
#[derive(Clone)]
pub struct Projections(Arc<Inner>);

struct Inner {
    cell: Cell,
    directory: Arc<Shared>,
    search: Arc<Shared>,
    audit: Arc<Shared>,
    erasures: Option<Arc<Shared>>,
    totals: Totals,
}

impl Projections {
    /// Starts a runner for each projection. Each runs on one server of the cell at a time.
    pub fn start(
        cell: Cell,
        options: ProjectionOptions,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let directory = Arc::new(Shared::new(Directory::NAME, Directory::VERSION));
        let search = Arc::new(Shared::new(Search::NAME, Search::VERSION));
        let audit = Arc::new(Shared::new(Audit::NAME, Audit::VERSION));
        let touched = Arc::new(Touched::default());
        let projected = cell.projected().clone();
        tracker.spawn(
            Runner {
                projection: Directory::new(cell.clone(), Arc::clone(&touched)),
                cell: cell.clone(),
                shared: Arc::clone(&directory),
                owner: options.owner.clone(),
                stop: stop.clone(),
                on_position: Box::new(move |position| {
                    projected.send_replace(position);
                }),
            }
            .run(),
        );
        tracker.spawn(
            Runner {
                projection: Search::new(
                    cell.clone(),
                    Arc::clone(&directory),
                    Arc::clone(&search),
                    touched,
                ),
                cell: cell.clone(),
                shared: Arc::clone(&search),
                owner: options.owner.clone(),
                stop: stop.clone(),
                on_position: Box::new(|_| {}),
            }
            .run(),
        );
        tracker.spawn(
            Runner {
                projection: Audit::new(
                    cell.clone(),
                    Arc::clone(&directory),
                    Arc::clone(&search),
                    Arc::clone(&audit),
                ),
                cell: cell.clone(),
                shared: Arc::clone(&audit),
                owner: options.owner.clone(),
                stop: stop.clone(),
                on_position: Box::new(|_| {}),
            }
            .run(),
        );
        let erasures = options.erasure_ledger.map(|path| {
            let shared = Arc::new(Shared::new(Erasures::NAME, Erasures::VERSION));
            tracker.spawn(
                Runner {
                    projection: Erasures::new(cell.clone(), path),
                    cell: cell.clone(),
                    shared: Arc::clone(&shared),
                    owner: options.owner,
                    stop: stop.clone(),
                    on_position: Box::new(|_| {}),
                }
                .run(),
            );
            shared
        });
        let projections = Self(Arc::new(Inner {
            cell,
            directory,
            search,
            audit,
            erasures,
            totals: Totals::default(),
        }));
        let measured = projections.clone();
        tracker.spawn(async move { measured.measure(stop).await });
        projections
    }

    /// Waits until what was appended up to a position can be read; false after the timeout.
    pub async fn wait_for(&self, position: i64, timeout: Duration) -> bool {
        self.0.directory.progress.wait_for(position, timeout).await
    }

    /// Waits until what was appended up to a position can be searched; false after the timeout.
    pub async fn wait_for_search(&self, position: i64, timeout: Duration) -> bool {
        self.0.search.progress.wait_for(position, timeout).await
    }

    /// Waits until what was appended up to a position is in the audit log; false after the timeout.
    pub async fn wait_for_audit(&self, position: i64, timeout: Duration) -> bool {
        self.0.audit.progress.wait_for(position, timeout).await
    }

    /// What the read tables are reached with.
    pub fn pool(&self) -> &sqlx::PgPool {
        self.0.cell.pool()
    }

    /// What lists of customers have counted.
    pub fn totals(&self) -> &Totals {
        &self.0.totals
    }

    /// The last position that can be read; -1 before the first look.
    pub fn position(&self) -> i64 {
        self.0.directory.progress.position()
    }

    /// The last position that can be searched; -1 before the first look.
    pub fn search_position(&self) -> i64 {
        self.0.search.progress.position()
    }

    /// The last position that the audit log shows; -1 before the first look.
    pub fn audit_position(&self) -> i64 {
        self.0.audit.progress.position()
    }

    /// The last position that a list of customers by this filter shows; -1 before the first look.
    pub fn position_of(&self, filter: &Filter) -> i64 {
        if filter.searches() {
            self.position().min(self.search_position())
        } else {
            self.position()
        }
    }

    /// How each projection is doing.
    pub fn status(&self) -> Vec<ProjectionStatus> {
        let head = *self.0.cell.head().borrow();
        self.each().map(|shared| shared.status(head)).collect()
    }

    fn each(&self) -> impl Iterator<Item = &Arc<Shared>> {
        let inner = &self.0;
        [&inner.directory, &inner.search, &inner.audit]
            .into_iter()
            .chain(&inner.erasures)
    }

    async fn measure(&self, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(MEASURED))
            .await
            .is_some()
        {
            let head = *self.0.cell.head().borrow();
            self.each().for_each(|shared| shared.measure(head));
        }
    }
}
