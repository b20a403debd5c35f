//! What is left of jobs that are over: what they keep past its retention, and staged pieces that nothing needs.

use roster_domain::Timestamp;
use roster_domain::import::{self, Import, ImportCommand};
use roster_domain::meta::Meta;
use roster_domain::purge::{self, Purge, PurgeCommand};
use roster_domain::stream::Stream;
use roster_domain::sync_run::{self, SyncRun, SyncRunCommand};
use uuid::Uuid;

use crate::jobs::RETENTION_SECONDS;
use crate::sync::discard_seen;
use crate::{CommandError, Directory, staged};

/// An upload is over or gone after this, in seconds; younger pieces without a job may still get one.
const UPLOAD_SECONDS: i64 = 24 * 3_600;

/// A job whose stream is closed some time after it ended.
trait Retained: Stream + 'static {
    /// When it ended; `None` where it goes on.
    fn ended_at(&self) -> Option<Timestamp>;

    /// The events that close its stream; none where it is closed.
    fn expire(&self, at: Timestamp) -> Result<Vec<Self::Event>, CommandError>;
}

impl Retained for Import {
    fn ended_at(&self) -> Option<Timestamp> {
        self.finished_at.filter(|_| self.status.is_final())
    }

    fn expire(&self, at: Timestamp) -> Result<Vec<Self::Event>, CommandError> {
        if self.is_expired {
            return Ok(Vec::new());
        }
        Ok(import::decide(self, &ImportCommand::Expire { at })?)
    }
}

impl Retained for Purge {
    fn ended_at(&self) -> Option<Timestamp> {
        self.finished_at.filter(|_| self.status.is_final())
    }

    fn expire(&self, at: Timestamp) -> Result<Vec<Self::Event>, CommandError> {
        if self.is_expired {
            return Ok(Vec::new());
        }
        Ok(purge::decide(self, &PurgeCommand::Expire { at })?)
    }
}

impl Retained for SyncRun {
    fn ended_at(&self) -> Option<Timestamp> {
        self.finished_at.filter(|_| self.status.is_final())
    }

    fn expire(&self, at: Timestamp) -> Result<Vec<Self::Event>, CommandError> {
        if self.is_expired {
            return Ok(Vec::new());
        }
        Ok(sync_run::decide(self, &SyncRunCommand::Expire { at })?)
    }
}

impl Directory {
    /// Expires what imports, purges and syncs that ended 30 days ago keep, and deletes pieces that no job will read.
    pub(crate) async fn sweep_jobs(&self) -> Result<(), CommandError> {
        self.sweep_ended::<Import>().await?;
        self.sweep_ended::<Purge>().await?;
        self.sweep_ended::<SyncRun>().await?;
        self.sweep_orphans().await
    }

    async fn sweep_ended<A: Retained>(&self) -> Result<(), CommandError> {
        let due: Vec<(Uuid, i32)> = sqlx::query_as(
            "SELECT job_id, project_no FROM job_leases WHERE kind = $1 AND leased_till < $2",
        )
        .bind(A::KIND)
        .bind(self.now().to_utc())
        .fetch_all(self.cell().pool())
        .await?;
        for (job_id, project_no) in due {
            self.sweep_job::<A>(job_id, project_no).await?;
        }
        Ok(())
    }

    async fn sweep_job<A: Retained>(
        &self,
        job_id: Uuid,
        project_no: i32,
    ) -> Result<(), CommandError> {
        let Some(project) = self.cell().project_by_no(project_no).await? else {
            return Ok(());
        };
        let job = self.cell().load::<A>(&project, job_id).await?.state;
        let Some(ended_at) = job.ended_at() else {
            // Its worker went: the next one takes the lease.
            return Ok(());
        };
        // A kill between the end of a job and its tidying leaves both.
        staged::discard(self.cell(), job_id).await?;
        discard_seen(self.cell(), job_id).await?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a constant of some millions"
        )]
        let ends = ended_at.plus_seconds(RETENTION_SECONDS as i64);
        if ends > self.now() {
            sqlx::query("UPDATE job_leases SET leased_till = $2 WHERE job_id = $1")
                .bind(job_id)
                .bind(ends.to_utc())
                .execute(self.cell().pool())
                .await?;
            return Ok(());
        }
        let at = self.now();
        let meta = Meta {
            request_id: format!("{}-{job_id}", A::TYPE),
            ..Meta::default()
        };
        self.execute(&project, job_id, &meta, |state: &A| state.expire(at))
            .await?;
        sqlx::query("DELETE FROM job_leases WHERE job_id = $1")
            .bind(job_id)
            .execute(self.cell().pool())
            .await?;
        Ok(())
    }

    /// A kill between the commit of staged pieces and the start of their job leaves pieces that nobody can open.
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
        for (job_id, key) in old.iter().zip(keys) {
            if key.is_none() {
                staged::discard(self.cell(), *job_id).await?;
            }
        }
        Ok(())
    }
}
