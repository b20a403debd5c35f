//! A server without HTTP: a cell with its projections, its directory and its jobs, in the process of the test.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use roster_commands::clock::{SystemClock, SystemIds};
use roster_commands::sync::source::Source;
use roster_commands::{Context, Directory, JobOptions, Jobs, Limits, SyncOptions, Syncing};
use roster_http::ProjectedRows;
use roster_projections::identity::{IdentityCache, IdentityOptions};
use roster_projections::{ProjectionOptions, Projections};
use roster_store::Cell;
use tokio::sync::watch;

use crate::database::{Database, TestCell};
use crate::log::scope;
use crate::scale::patience;

/// One server of a cell.
pub struct Node {
    /// Its use cases.
    pub directory: Directory,
    /// Its read models.
    pub projections: Projections,
    /// Its look-up of identities.
    pub identities: IdentityCache,
    test: TestCell,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// Starts cell, projections and directory. Jobs wait for [`Node::start_jobs`].
    pub async fn start(database: &Database, name: &str, limits: Limits) -> anyhow::Result<Self> {
        Self::start_with(database, name, limits, IdentityOptions::default()).await
    }

    /// The same with another memory of identities.
    pub async fn start_with(
        database: &Database,
        name: &str,
        limits: Limits,
        identities: IdentityOptions,
    ) -> anyhow::Result<Self> {
        let test = database.cell().await?;
        let options = ProjectionOptions {
            owner: name.to_owned(),
            ..ProjectionOptions::default()
        };
        let projections =
            Projections::start(test.cell.clone(), options, &test.tracker, test.stop.clone());
        let identities = IdentityCache::start(
            test.cell.clone(),
            projections.clone(),
            watch::channel(None).1,
            identities,
            &test.tracker,
            test.stop.clone(),
        );
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let directory = Directory::new(test.cell.clone(), clock, ids, limits);
        Ok(Self {
            directory,
            projections,
            identities,
            test,
        })
    }

    /// A node whose connections read from these sources.
    pub async fn start_with_sources(
        database: &Database,
        name: &str,
        sources: Vec<Arc<dyn Source>>,
    ) -> anyhow::Result<Self> {
        let mut node = Self::start(database, name, Limits::default()).await?;
        let rows = Arc::new(ProjectedRows::new(node.projections.clone()));
        node.directory = node.directory.with_syncing(Syncing::new(sources, rows));
        Ok(node)
    }

    /// The same worker with another patience of syncs.
    pub fn start_jobs_with(&self, sync: SyncOptions) -> Jobs {
        let options = JobOptions {
            poll: Duration::from_millis(50),
            sync,
            ..JobOptions::default()
        };
        let (tracker, stop) = (self.test.tracker.clone(), self.test.stop.clone());
        Jobs::start(self.directory.clone(), options, tracker, stop)
    }

    /// Starts the worker, which looks for jobs every 50 ms.
    pub fn start_jobs(&self) -> Jobs {
        let options = JobOptions {
            poll: Duration::from_millis(50),
            ..JobOptions::default()
        };
        let (tracker, stop) = (self.test.tracker.clone(), self.test.stop.clone());
        Jobs::start(self.directory.clone(), options, tracker, stop)
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.test.cell
    }

    /// A request of Roster itself on a project of the test's tenant.
    pub fn context(project_id: &str) -> Context {
        Context::system(scope(project_id), "test")
    }

    /// Waits until everything in the log can be read and searched.
    pub async fn settle(&self) -> anyhow::Result<i64> {
        let (head, within) = (self.cell().head_position().await?, patience() / 3);
        let read = self.projections.wait_for(head, within).await;
        let searched = self.projections.wait_for_search(head, within).await;
        let audited = self.projections.wait_for_audit(head, within).await;
        ensure!(
            read && searched && audited,
            "the projections do not reach {head}: {:?}",
            self.projections.status()
        );
        Ok(head)
    }

    /// Stops everything and waits for it.
    pub async fn close(self) {
        let Self {
            directory,
            projections,
            identities,
            test,
        } = self;
        drop((directory, projections, identities));
        test.close().await;
    }
}
