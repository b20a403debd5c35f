//! One rebuild at work: fill, catch up, swap.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roster_store::checkpoints::{self, Lease};
use roster_store::{Cell, CellConfig, migrate};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::filling::Filling;
use super::tables::Schemas;
use super::{Place, Rebuild, RebuildError, Stage, TURN};
use crate::parked;
use crate::runner::{Item, Step};

/// Events that are caught up with at once.
const PAGE: i64 = 5_000;
/// From how few events behind on the swap is tried.
const NEAR: i64 = 500;
/// How often readers may keep a swap out.
const ATTEMPTS: u32 = 100;
/// How much longer readers and the live runner have after each try, and at most: a backup may read for minutes.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a swap may hold the lease without telling, in seconds.
const LEASE_SECONDS: f64 = 10.0;
const POOL: u32 = 6;
/// How often a page is read again because somebody of it was erased meanwhile.
const RETRIES: u32 = 20;
const UNIQUE_VIOLATION: &str = "sqlstate_23505";

/// Two rebuilds at once would drop each other's tables.
pub(super) async fn take_turn(owner: &mut PgConnection, name: &str) -> Result<(), RebuildError> {
    let sql = format!("SELECT pg_try_advisory_lock({TURN})");
    let taken: bool = sqlx::query_scalar(&sql).bind(name).fetch_one(owner).await?;
    if taken {
        Ok(())
    } else {
        Err(RebuildError::Running)
    }
}

/// Ends a turn. A connection that is closed keeps its lock until Postgres has noticed.
pub(super) async fn end_turn(mut owner: PgConnection) -> Result<(), RebuildError> {
    sqlx::query("SELECT pg_advisory_unlock_all()")
        .execute(&mut owner)
        .await?;
    Ok(owner.close().await?)
}

/// Rebuilds a projection, or takes a rebuild `back`.
pub(super) async fn run<P: Rebuild>(
    place: &Place,
    back: bool,
    progress: &(dyn Fn(Stage) + Send + Sync),
) -> Result<i64, RebuildError> {
    let schemas = Schemas::of(&migrate::schema_of(&place.cell), P::NAME);
    let mut owner = migrate::connect_owner(&place.owner_url, &place.cell).await?;
    take_turn(&mut owner, P::NAME).await?;
    let from = if back {
        if !Schemas::exists(&mut owner, &schemas.old).await? {
            end_turn(owner).await?;
            return Err(RebuildError::NothingOld);
        }
        schemas.leave_out::<P>(&mut owner, &schemas.old).await?;
        schemas.old.clone()
    } else {
        schemas.make_next::<P>(&mut owner).await?;
        schemas.next.clone()
    };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let config = CellConfig {
        name: place.cell.clone(),
        database_url: migrate::with_schema_first(&place.service_url, &place.cell, &from),
        pool_size: POOL,
        cache_streams: 1,
    };
    let cell = Cell::open(config, place.vault.clone(), &tracker, stop.clone()).await?;
    let mut rebuilding = Rebuilding {
        place,
        projection: P::on(cell.clone()),
        parked: parked::streams(cell.pool(), P::NAME).await?,
        cell,
        owner,
        schemas,
        from,
        position: 0,
        progress,
    };
    let ended = if back {
        rebuilding.resume().await
    } else {
        rebuilding.fill(&tracker).await
    };
    let ended = match ended {
        Ok(()) => rebuilding.swap().await,
        failed => failed,
    };
    let Rebuilding {
        projection,
        cell,
        mut owner,
        from,
        position,
        ..
    } = rebuilding;
    // It keeps a connection, and closing the pool waits for it.
    drop(projection);
    stop.cancel();
    tracker.close();
    cell.pool().close().await;
    tracker.wait().await;
    if ended.is_err() && !back {
        // What was filled holds personal values, and nobody would erase them there.
        let sql = format!("DROP SCHEMA IF EXISTS {from} CASCADE");
        sqlx::query(&sql).execute(&mut owner).await?;
    }
    end_turn(owner).await?;
    ended.map(|()| position)
}

/// One rebuild at work.
struct Rebuilding<'a, P> {
    place: &'a Place,
    projection: P,
    /// What these tables leave out.
    parked: HashSet<Uuid>,
    cell: Cell,
    owner: PgConnection,
    schemas: Schemas,
    /// The schema of the tables that are to be live.
    from: String,
    /// What these tables stand for.
    position: i64,
    progress: &'a (dyn Fn(Stage) + Send + Sync),
}

impl<P: Rebuild> Rebuilding<'_, P> {
    /// How far the tables can be now: the head of the log, or the projection that is read.
    async fn target(&mut self) -> Result<i64, RebuildError> {
        let Some(name) = P::FOLLOWS else {
            return Ok(self.cell.head_position().await?);
        };
        let sql = format!(
            "SELECT position FROM {}.log_checkpoints WHERE name = $1",
            self.schemas.live
        );
        let position: Option<i64> = sqlx::query_scalar(&sql)
            .bind(name)
            .fetch_optional(&mut self.owner)
            .await?;
        Ok(position.unwrap_or_default())
    }

    /// Fills the new tables and gives them their checkpoint.
    async fn fill(&mut self, tracker: &TaskTracker) -> Result<(), RebuildError> {
        let to = self.target().await?;
        let done = AtomicU64::new(0);
        let total = AtomicU64::new(0);
        let told = |more: usize| {
            let more = u64::try_from(more).unwrap_or_default();
            let done = done.fetch_add(more, Ordering::Relaxed) + more;
            let total = total.load(Ordering::Relaxed);
            (self.progress)(Stage::Filling(done, total.max(done)));
        };
        let filling = Filling {
            cell: self.cell.clone(),
            to,
            parked: self.parked.clone(),
            tracker,
            progress: &told,
        };
        let expected = P::expected(&filling).await?;
        total.store(expected, Ordering::Relaxed);
        told(0);
        self.projection.fill(&filling).await?;
        let progress = self.progress;
        let begun = |name: &str| progress(Stage::Indexing(name.to_owned()));
        let mut helper = migrate::connect_owner(&self.place.owner_url, &self.place.cell).await?;
        self.schemas
            .build_indexes(&mut self.owner, Some(&mut helper), P::FILLED, &begun)
            .await?;
        helper.close().await?;
        let mut transaction = self.cell.pool().begin().await?;
        sqlx::query("INSERT INTO log_checkpoints (name, version, position) VALUES ($1, $2, $3)")
            .bind(P::NAME)
            .bind(P::VERSION)
            .bind(to)
            .execute(&mut *transaction)
            .await?;
        let step = Self::step(to, to);
        self.projection
            .complete(&mut transaction, &self.schemas.live, step)
            .await?;
        transaction.commit().await?;
        self.position = to;
        Ok(())
    }

    /// Finds out where the old tables stand.
    async fn resume(&mut self) -> Result<(), RebuildError> {
        let found = Schemas::checkpoint::<P>(&mut self.owner, &self.from).await?;
        let (position, stored) = found.ok_or(RebuildError::NothingOld)?;
        if stored != P::VERSION {
            return Err(RebuildError::OtherVersion {
                stored,
                built: P::VERSION,
            });
        }
        self.position = position;
        Ok(())
    }

    const fn step(from: i64, to: i64) -> Step {
        Step {
            name: P::NAME,
            epoch: 0,
            from,
            to,
        }
    }

    /// Applies the log up to a position.
    ///
    /// A person may be erased between reading a page and applying it; the live runner has then scrubbed the row here, and
    /// the page would write it beside that. Read again, the page has nothing of the person any more.
    async fn catch_up(&mut self, target: i64) -> Result<(), RebuildError> {
        let mut scrubbed = 0;
        while self.position < target {
            (self.progress)(Stage::Following(target - self.position));
            let limit = PAGE.min(target - self.position);
            let page = self.cell.read_page(self.position, limit).await?;
            let Some(to) = page.last().map(|last| last.position) else {
                break;
            };
            let items = P::items(page);
            let kept: Vec<&P::Item> = items
                .iter()
                .filter(|item| !self.parked.contains(&item.stream()) || item.scrubs())
                .collect();
            let step = Self::step(self.position, to);
            match self.projection.apply(&kept, step).await {
                Ok(()) => {
                    self.position = to;
                    scrubbed = 0;
                }
                Err(error) if scrubbed < RETRIES && error.code() == UNIQUE_VIOLATION => {
                    self.projection.forget();
                    scrubbed += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Catches up and swaps, again and again until readers leave a gap.
    async fn swap(&mut self) -> Result<(), RebuildError> {
        let spare = if self.from == self.schemas.old {
            &self.schemas.next
        } else {
            &self.schemas.old
        };
        self.schemas.make(&mut self.owner, spare).await?;
        let known =
            "INSERT INTO log_checkpoints (name, version) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(known)
            .bind(P::NAME)
            .bind(P::VERSION)
            .execute(&mut self.owner)
            .await?;
        for attempt in 1..=ATTEMPTS {
            loop {
                let target = self.target().await?;
                if target - self.position <= NEAR {
                    break;
                }
                self.catch_up(target).await?;
            }
            let lease =
                checkpoints::seize(&mut self.owner, P::NAME, "rebuild", LEASE_SECONDS).await?;
            let lease = lease.ok_or(RebuildError::Changed)?;
            let swapped = self.swap_once(lease).await;
            if matches!(swapped, Ok(true)) {
                return Ok(());
            }
            self.release(lease).await?;
            swapped?;
            tokio::time::sleep((PAUSE * attempt).min(LONGEST_PAUSE)).await;
        }
        Err(RebuildError::Busy)
    }

    /// What the live tables show, the new ones show before they are swapped in.
    async fn swap_once(&mut self, lease: Lease) -> Result<bool, RebuildError> {
        self.catch_up(lease.position).await?;
        self.schemas
            .swap::<P>(&mut self.owner, &self.from, lease, self.position)
            .await
    }

    async fn release(&mut self, lease: Lease) -> Result<(), RebuildError> {
        sqlx::query(
            "UPDATE log_checkpoints SET owner = NULL, leased_till = 'epoch' WHERE name = $1 AND epoch = $2",
        )
        .bind(P::NAME)
        .bind(lease.epoch)
        .execute(&mut self.owner)
        .await?;
        Ok(())
    }
}
