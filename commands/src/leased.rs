//! Jobs that one worker runs at a time: their lease, and what is tidied when they end.

use std::future::Future;

use roster_store::{Cell, Project, leases};
use tokio::time::Instant;
use uuid::Uuid;

use crate::jobs::{LEASE_SECONDS, RETENTION_SECONDS, Ran};
use crate::{CommandError, Directory, staged};

/// A lease that is held.
pub(crate) struct Held {
    job_id: Uuid,
    epoch: i64,
    renewed: Instant,
}

impl Held {
    /// Keeps the lease; `false` where another worker has the job.
    pub(crate) async fn keep(&mut self, cell: &Cell) -> Result<bool, CommandError> {
        if self.renewed.elapsed().as_secs_f64() < LEASE_SECONDS / 4.0 {
            return Ok(true);
        }
        self.renewed = Instant::now();
        Ok(leases::renew(cell.pool(), self.job_id, self.epoch, LEASE_SECONDS).await?)
    }
}

impl Directory {
    /// Runs a job under its lease. What was staged for it goes when it ends.
    pub(crate) async fn leased<F>(
        &self,
        project: &Project,
        job_id: Uuid,
        kind: i16,
        run: impl FnOnce(Held) -> F + Send,
    ) -> Result<Ran, CommandError>
    where
        F: Future<Output = Result<Ran, CommandError>> + Send,
    {
        let pool = self.cell().pool();
        let owner = self.new_id().to_string();
        let lease = leases::acquire(pool, job_id, project.no, kind, &owner, LEASE_SECONDS).await?;
        let Some(epoch) = lease else {
            return Ok(Ran::Elsewhere);
        };
        let renewed = Instant::now();
        let ran = run(Held {
            job_id,
            epoch,
            renewed,
        })
        .await;
        if matches!(ran, Ok(Ran::Ended)) {
            staged::discard(self.cell(), job_id).await?;
            // The row stays until the retention is over: that is how the sweep finds the job.
            leases::renew(pool, job_id, epoch, RETENTION_SECONDS).await?;
            self.job_ended().send_replace(Some(job_id));
        } else {
            leases::release(pool, job_id, epoch).await?;
        }
        ran
    }
}
