//! Rebuilds a projection beside its live tables while commands and reads go on, and takes a rebuild back.
//!
//! The new tables are filled from the log up to its present head, get their indexes last, catch up with what was appended
//! meanwhile and are swapped in by one transaction that moves the checkpoint with them. For the moment of the swap the
//! rebuild holds the projection's lease, so that no runner writes to tables that are about to go; the runner that is fenced
//! by it goes on from the checkpoint of the new ones. No write is refused and no position is taken back.

pub(crate) mod filling;
pub(crate) mod rows;
pub(crate) mod scrub;
mod tables;

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roster_store::checkpoints::{self, Lease};
use roster_store::{Cell, CellConfig, Recorded, StoreError, Vault, migrate};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit::Audit;
use crate::directory::Directory;
use crate::page::PageError;
use crate::parked;
use crate::runner::{Item, Projection, Step};
use crate::search::Search;
use filling::Filling;
use tables::Schemas;

/// What comes between the names of cell and projection in the schema of tables that are filled.
pub(crate) const NEXT: &str = "_next_";
/// The same for tables that were live before.
pub(crate) const OLD: &str = "_old_";

/// Events that are caught up with at once.
const PAGE: i64 = 5_000;
/// From how few events behind on the swap is tried.
const NEAR: i64 = 500;
/// How often readers may keep a swap out.
const ATTEMPTS: u32 = 100;
/// How long readers and the live runner have between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a swap may hold the lease without telling, in seconds.
const LEASE_SECONDS: f64 = 10.0;
const POOL: u32 = 6;

/// A projection that can be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Customers, data sources, schemas, imports and what else is read with them.
    Directory,
    /// The search index of customers.
    Search,
    /// The audit log.
    Audit,
}

impl Target {
    /// The read tables that are rebuilt together.
    pub const fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Directory => Directory::TABLES,
            Self::Search => Search::TABLES,
            Self::Audit => Audit::TABLES,
        }
    }
}

/// The database of a rebuild: the owner makes and swaps tables, the service's role fills them.
#[derive(Clone)]
pub struct Place {
    /// The owner's URL, without a pooler in between.
    pub owner_url: SecretString,
    /// The service's URL.
    pub service_url: SecretString,
    /// The cell.
    pub cell: String,
    /// The keys: what is folded has to be opened.
    pub vault: Vault,
}

/// How far a rebuild is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// So many of so many events, or rows, are in the new tables.
    Filling(u64, u64),
    /// An index is being built.
    Indexing(String),
    /// So many events behind.
    Following(i64),
}

/// Why a projection was not rebuilt. Whatever it was, the live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Another rebuild of the same projection runs.
    #[error("another rebuild of this projection is running")]
    Running,
    /// There are no old tables.
    #[error("there are no old tables to go back to")]
    NothingOld,
    /// The old tables are another build's.
    #[error("the old tables are of version {stored}, this build writes {built}")]
    OtherVersion {
        /// Of the tables.
        stored: i32,
        /// Of this build.
        built: i32,
    },
    /// The live tables got another form meanwhile.
    #[error("the tables were migrated meanwhile: rebuild again")]
    Changed,
    /// Readers never left a gap.
    #[error("long reads kept the swap out: try again")]
    Busy,
    /// An event that cannot be applied; nothing is parked by a rebuild.
    #[error("position {position} of stream {stream} cannot be applied: {code}")]
    Poison {
        /// Its stream.
        stream: Uuid,
        /// Its place in the log.
        position: i64,
        /// A word for it.
        code: &'static str,
    },
    /// The log has events of a newer build.
    #[error("the log has events of a newer build: type {0} version {1}")]
    Unknown(i16, i16),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PageError> for RebuildError {
    fn from(error: PageError) -> Self {
        match error {
            // Nobody else moves the checkpoint of tables that are not live.
            PageError::Fenced => Self::Running,
            PageError::Unknown {
                type_no,
                type_version,
            } => Self::Unknown(type_no, type_version),
            PageError::Poison {
                stream,
                position,
                code,
            } => Self::Poison {
                stream,
                position,
                code,
            },
            PageError::Store(error) => Self::Store(error),
        }
    }
}

/// A projection that can be made from nothing.
pub(crate) trait Rebuild: Projection {
    /// The projection whose tables it reads, and which it therefore can never be ahead of.
    const FOLLOWS: Option<&'static str>;

    /// The projection on the connections of a cell that see the new tables.
    fn on(cell: Cell) -> Self;

    /// How many events, or rows, `fill` will tell of.
    fn expected(filling: &Filling<'_>) -> impl Future<Output = Result<u64, PageError>> + Send;

    /// Fills the empty tables with what the log says up to a position.
    fn fill(&mut self, filling: &Filling<'_>)
    -> impl Future<Output = Result<(), PageError>> + Send;

    /// Writes what is known only after the last event, or only to the tables of the schema `live`; the checkpoint stays
    /// where it is.
    fn complete(
        &mut self,
        connection: &mut PgConnection,
        live: &str,
        step: Step,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// What it wants of a page of the log.
    fn items(page: Vec<Recorded>) -> Vec<Self::Item>;
}

/// Rebuilds a projection; the position that its new tables stand for.
pub async fn rebuild(
    place: &Place,
    target: Target,
    progress: &(dyn Fn(Stage) + Send + Sync),
) -> Result<i64, RebuildError> {
    match target {
        Target::Directory => run::<Directory>(place, false, progress).await,
        Target::Search => run::<Search>(place, false, progress).await,
        Target::Audit => run::<Audit>(place, false, progress).await,
    }
}

/// Makes the tables from before the last rebuild the live ones again, after they caught up; the position they stand for.
pub async fn roll_back(
    place: &Place,
    target: Target,
    progress: &(dyn Fn(Stage) + Send + Sync),
) -> Result<i64, RebuildError> {
    match target {
        Target::Directory => run::<Directory>(place, true, progress).await,
        Target::Search => run::<Search>(place, true, progress).await,
        Target::Audit => run::<Audit>(place, true, progress).await,
    }
}

/// Drops the tables from before the last rebuild, and what a rebuild that was killed left behind.
pub async fn drop_old(place: &Place, target: Target) -> Result<(), RebuildError> {
    let live = migrate::schema_of(&place.cell);
    let (schemas, name) = match target {
        Target::Directory => (Schemas::of::<Directory>(&live), Directory::NAME),
        Target::Search => (Schemas::of::<Search>(&live), Search::NAME),
        Target::Audit => (Schemas::of::<Audit>(&live), Audit::NAME),
    };
    let mut owner = migrate::connect_owner(&place.owner_url, &place.cell).await?;
    take_turn(&mut owner, name).await?;
    for schema in [schemas.old, schemas.next] {
        let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
        sqlx::query(&sql).execute(&mut owner).await?;
    }
    Ok(owner.close().await?)
}

/// Two rebuilds at once would drop each other's tables.
async fn take_turn(owner: &mut PgConnection, name: &str) -> Result<(), RebuildError> {
    let taken: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(7309, hashtext('rebuild ' || $1))")
            .bind(name)
            .fetch_one(owner)
            .await?;
    if taken {
        Ok(())
    } else {
        Err(RebuildError::Running)
    }
}

async fn run<P: Rebuild>(
    place: &Place,
    back: bool,
    progress: &(dyn Fn(Stage) + Send + Sync),
) -> Result<i64, RebuildError> {
    let schemas = Schemas::of::<P>(&migrate::schema_of(&place.cell));
    let mut owner = migrate::connect_owner(&place.owner_url, &place.cell).await?;
    take_turn(&mut owner, P::NAME).await?;
    let from = if back {
        if !Schemas::exists(&mut owner, &schemas.old).await? {
            return Err(RebuildError::NothingOld);
        }
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
    stop.cancel();
    tracker.close();
    rebuilding.cell.pool().close().await;
    tracker.wait().await;
    if ended.is_err() && !back {
        // What was filled holds personal values, and nobody would erase them there.
        let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", rebuilding.from);
        sqlx::query(&sql).execute(&mut rebuilding.owner).await?;
    }
    rebuilding.owner.close().await?;
    ended.map(|()| rebuilding.position)
}

/// One rebuild at work.
struct Rebuilding<'a, P> {
    projection: P,
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
        self.schemas
            .build_indexes(&mut self.owner, P::FILLED, &|name| {
                progress(Stage::Indexing(name.to_owned()));
            })
            .await?;
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
    async fn catch_up(&mut self, target: i64) -> Result<(), RebuildError> {
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
            self.projection.apply(&kept, step).await?;
            self.position = to;
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
        let known = "INSERT INTO log_checkpoints (name, version) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(known)
            .bind(P::NAME)
            .bind(P::VERSION)
            .execute(&mut self.owner)
            .await?;
        for _ in 0..ATTEMPTS {
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
            tokio::time::sleep(PAUSE).await;
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
