//! Taking a purge on: one run of it, or its end where every run fails.

use std::sync::Arc;

use roster_domain::stream::kind;
use roster_store::Project;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::worker::Run;
use crate::jobs::{JobOptions, Ran};
use crate::{CommandError, Directory};

impl Directory {
    /// Runs a purge from where it stands; `gives_up` where every run before failed.
    pub(crate) async fn run_purge(
        &self,
        project: &Arc<Project>,
        id: Uuid,
        options: &JobOptions,
        gives_up: bool,
        stop: &CancellationToken,
    ) -> Result<Ran, CommandError> {
        let run = |held| async move {
            let mut run = Run::new(self.clone(), Arc::clone(project), id, held, options);
            if gives_up {
                run.give_up("the purge failed again and again").await
            } else {
                run.go(stop).await
            }
        };
        self.leased(project, id, kind::PURGE, run).await
    }
}
