//! Taking a run on: one stretch of it, or its end where every stretch fails.

use std::sync::Arc;

use roster_domain::connection::Connection;
use roster_domain::meta::Meta;
use roster_domain::stream::kind;
use roster_domain::sync_run::SyncRun;
use roster_store::Project;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::reader::End;
use super::worker::Run;
use super::{SyncOptions, seen};
use crate::jobs::Ran;
use crate::{CommandError, Directory, known};

impl Directory {
    /// Goes on with a run from where it stands; `gives_up` where every stretch before failed.
    pub(crate) async fn run_sync(
        &self,
        project: &Arc<Project>,
        id: Uuid,
        options: SyncOptions,
        gives_up: bool,
        stop: &CancellationToken,
    ) -> Result<Ran, CommandError> {
        let run = |held| async move {
            let mut run = Run {
                directory: self.clone(),
                project: Arc::clone(project),
                id,
                held,
                options,
                meta: Meta {
                    request_id: format!("sync-{id}"),
                    ..Meta::default()
                },
            };
            let ran = if gives_up {
                let end = End::failed("internal_error", "the run failed again and again");
                run.finish(end).await?
            } else {
                run.go(stop).await?
            };
            if ran == Ran::Ended {
                self.tidy(project, id).await?;
            }
            Ok(ran)
        };
        self.leased(project, id, kind::SYNC_RUN, run).await
    }

    /// Forgets what a run that is over found, and what nobody needs to know any more.
    async fn tidy(&self, project: &Project, id: Uuid) -> Result<(), CommandError> {
        let cell = self.cell();
        seen::discard(cell, id).await?;
        let run = cell.load::<SyncRun>(project, id).await?.state;
        let connection_id = run.connection_id;
        let connection = cell.load::<Connection>(project, connection_id).await?;
        if !connection.state.is_there() {
            known::forget_connection(cell, connection_id).await?;
        } else if !run.is_walked {
            known::forget_unwritten(cell, connection_id).await?;
        }
        Ok(())
    }
}
