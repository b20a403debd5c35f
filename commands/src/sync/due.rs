//! Runs that are due by their connection's schedule. Whichever server looks first queues them; the others lose the claim.

use roster_domain::Personal;
use roster_domain::connection::Connection;
use roster_domain::meta::{Meta, Principal};
use roster_domain::stream::kind;
use roster_domain::sync_run::Trigger;
use uuid::Uuid;

use super::runs::Wanted;
use super::schedule::due;
use crate::{CommandError, Directory};

impl Directory {
    /// Queues every run that is due.
    pub(crate) async fn queue_due_runs(&self) -> Result<(), CommandError> {
        for (_, project_no, id) in self.cell().open_jobs(&[kind::CONNECTION]).await? {
            match self.queue_due_run(project_no, id).await {
                Ok(()) | Err(CommandError::RunInProgress { .. }) => {}
                Err(error) => {
                    tracing::warn!(connection = %id, %error, "a scheduled run could not be queued");
                }
            }
        }
        Ok(())
    }

    async fn queue_due_run(&self, project_no: i32, id: Uuid) -> Result<(), CommandError> {
        let Some(project) = self.cell().project_by_no(project_no).await? else {
            return Ok(());
        };
        let connection = self.cell().load::<Connection>(&project, id).await?;
        let due = due(&connection.state, self.now());
        let Some(is_full) = due.filter(|_| connection.state.active_run.is_none()) else {
            return Ok(());
        };
        let wanted = Wanted {
            trigger: Trigger::Schedule,
            is_full: is_full
                || connection.state.settings.mode == roster_domain::connection::Mode::Full,
            dry_run: false,
            confirms_deletes: false,
            principal: Principal::System,
            subject: Personal::Erased,
        };
        let meta = Meta {
            request_id: format!("schedule-{id}"),
            ..Meta::default()
        };
        self.queue(&project, &connection, wanted, &meta).await?;
        Ok(())
    }
}
