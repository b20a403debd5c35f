//! Taking an import on: its lease, one run of it, and what is tidied at its end.

use std::sync::Arc;

use roster_domain::import::{Import, ImportCommand, ImportStatus, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::kind;
use roster_store::{Project, leases};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::flow::GiveUp;
use super::staging;
use super::worker::Run;
use crate::jobs::{JobOptions, LEASE_SECONDS, RETENTION_SECONDS, Ran};
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
        let pool = self.cell().pool();
        let owner = self.new_id().to_string();
        let lease =
            leases::acquire(pool, id, project.no, kind::IMPORT, &owner, LEASE_SECONDS).await?;
        let Some(epoch) = lease else {
            return Ok(Ran::Elsewhere);
        };
        let mut run = Run::new(self.clone(), Arc::clone(project), id, epoch, *options);
        let ran = match run.go(stop).await {
            Ok(ran) => Ok(ran),
            Err(GiveUp::Ends(status, reason)) => {
                run.finish(status, Some(reason)).await.map(|()| Ran::Ended)
            }
            Err(GiveUp::Later(error)) => Err(error),
        };
        if matches!(ran, Ok(Ran::Ended)) {
            staging::discard(self.cell(), id).await?;
            // The row stays until the findings expire: that is how the sweep finds them.
            leases::renew(pool, id, epoch, RETENTION_SECONDS).await?;
            self.job_ended().send_replace(Some(id));
        } else {
            leases::release(pool, id, epoch).await?;
        }
        ran
    }
}

impl Directory {
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
        self.execute(project, id, &meta, decide).await?;
        staging::discard(self.cell(), id).await?;
        self.job_ended().send_replace(Some(id));
        Ok(Ran::Ended)
    }
}
