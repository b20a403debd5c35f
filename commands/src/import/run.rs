//! Taking an import on: one run of it, or its end where every run fails.

use std::sync::Arc;

use roster_domain::import::{Import, ImportCommand, ImportStatus, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::kind;
use roster_store::Project;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::flow::GiveUp;
use super::worker::Run;
use crate::jobs::{JobOptions, Ran};
use crate::{CommandError, Directory};

impl Directory {
    /// Runs an import from where it stands.
    pub(crate) async fn run_import(
        &self,
        project: &Arc<Project>,
        id: Uuid,
        options: &JobOptions,
        stop: &CancellationToken,
    ) -> Result<Ran, CommandError> {
        let run = |held| async move {
            let mut run = Run::new(self.clone(), Arc::clone(project), id, held, *options);
            match run.go(stop).await {
                Ok(ran) => Ok(ran),
                Err(GiveUp::Ends(status, reason)) => {
                    run.finish(status, Some(reason)).await.map(|()| Ran::Ended)
                }
                Err(GiveUp::Later(error)) => Err(error),
            }
        };
        self.leased(project, id, kind::IMPORT, run).await
    }

    /// Ends an import whose every run fails.
    pub(crate) async fn abandon_import(
        &self,
        project: &Arc<Project>,
        id: Uuid,
    ) -> Result<Ran, CommandError> {
        let at = self.now();
        let meta = Meta {
            request_id: format!("import-{id}"),
            ..Meta::default()
        };
        let reason = Some("the import failed again and again".to_owned());
        let decide = |state: &Import| {
            Ok(decide(
                state,
                &ImportCommand::Finish {
                    at,
                    status: ImportStatus::Failed,
                    reason: reason.clone(),
                },
            )?)
        };
        let end = |_| async move {
            self.execute(project, id, &meta, decide).await?;
            Ok(Ran::Ended)
        };
        self.leased(project, id, kind::IMPORT, end).await
    }
}
