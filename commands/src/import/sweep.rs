//! What is left of imports that are over: findings past their retention, and staged text that nothing needs.

use roster_domain::import::{Import, ImportCommand, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::kind;
use uuid::Uuid;

use super::staging;
use crate::jobs::RETENTION_SECONDS;
use crate::{CommandError, Directory};

/// An upload is over or gone after this, in seconds; younger pieces without an import may still get one.
const UPLOAD_SECONDS: i64 = 24 * 3_600;

impl Directory {
    /// Expires the findings of imports that ended 30 days ago, and deletes pieces that no import will read.
    pub(crate) async fn sweep_imports(&self) -> Result<(), CommandError> {
        let now = self.now();
        let due: Vec<(Uuid, i32)> = sqlx::query_as(
            "SELECT job_id, project_no FROM job_leases WHERE kind = $1 AND leased_till < $2",
        )
        .bind(kind::IMPORT)
        .bind(now.to_utc())
        .fetch_all(self.cell().pool())
        .await?;
        for (import_id, project_no) in due {
            self.sweep_import(import_id, project_no).await?;
        }
        self.sweep_orphans().await
    }

    async fn sweep_import(&self, import_id: Uuid, project_no: i32) -> Result<(), CommandError> {
        let Some(project) = self.cell().project_by_no(project_no).await? else {
            return Ok(());
        };
        let import = self.cell().load::<Import>(&project, import_id).await?.state;
        let (Some(finished_at), true) = (import.finished_at, import.status.is_final()) else {
            // Its worker went: the next one takes the lease.
            return Ok(());
        };
        // A kill between the end of an import and its tidying leaves both.
        staging::discard(self.cell(), import_id).await?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a constant of some millions"
        )]
        let ends = finished_at.plus_seconds(RETENTION_SECONDS as i64);
        if ends > self.now() {
            sqlx::query("UPDATE job_leases SET leased_till = $2 WHERE job_id = $1")
                .bind(import_id)
                .bind(ends.to_utc())
                .execute(self.cell().pool())
                .await?;
            return Ok(());
        }
        if !import.is_expired {
            let at = self.now();
            let meta = Meta {
                request_id: format!("import-{import_id}"),
                ..Meta::default()
            };
            let decide = |state: &Import| Ok(decide(state, &ImportCommand::Expire { at })?);
            self.execute(&project, import_id, &meta, decide).await?;
        }
        sqlx::query("DELETE FROM job_leases WHERE job_id = $1")
            .bind(import_id)
            .execute(self.cell().pool())
            .await?;
        Ok(())
    }

    /// A kill between the commit of a staged body and the start of its import leaves pieces that nobody can open.
    async fn sweep_orphans(&self) -> Result<(), CommandError> {
        let staged: Vec<Uuid> =
            sqlx::query_scalar("SELECT job_id FROM job_chunks WHERE chunk_no = 0")
                .fetch_all(self.cell().pool())
                .await?;
        let limit = self
            .now()
            .plus_seconds(-UPLOAD_SECONDS)
            .to_utc()
            .timestamp();
        let is_old = |id: &Uuid| {
            id.get_timestamp()
                .is_some_and(|made| i64::try_from(made.to_unix().0).is_ok_and(|made| made < limit))
        };
        let old: Vec<Uuid> = staged.into_iter().filter(is_old).collect();
        let keys = self.cell().keys_of(&old).await?;
        for (import_id, key) in old.iter().zip(keys) {
            if key.is_none() {
                staging::discard(self.cell(), *import_id).await?;
            }
        }
        Ok(())
    }
}
