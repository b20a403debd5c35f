//! Rebuilds a projection beside its live tables while commands and reads go on, and takes a rebuild back.
//!
//! The new tables are filled from the log up to its present head, get their indexes last, catch up with what was appended
//! meanwhile and are swapped in by one transaction that moves the checkpoint with them. For the moment of the swap the
//! rebuild holds the projection's lease, so that no runner writes to tables that are about to go; the runner that is fenced
//! by it goes on from the checkpoint of the new ones. No write is refused and no position is taken back. Streams that are
//! left out are left out by a rebuild too; after the swap the runner folds them anew.

pub(crate) mod filling;
pub(crate) mod rows;
mod run;
pub(crate) mod scrub;
mod tables;

use std::future::Future;

use roster_store::{Cell, Recorded, StoreError, Vault, migrate};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::audit::Audit;
use crate::directory::Directory;
use crate::page::PageError;
use crate::parked;
use crate::runner::{Projection, Step};
use crate::search::Search;
use filling::Filling;
use run::{end_turn, run, take_turn};
use tables::Schemas;

/// What comes between the names of cell and projection in the schema of tables that are filled.
pub(crate) const NEXT: &str = "_next_";
/// The same for tables that were live before.
pub(crate) const OLD: &str = "_old_";

/// The advisory lock of whoever rebuilds the projection $1.
pub(crate) const TURN: &str = "7309, hashtext('rebuild ' || $1)";

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
    const fn name(self) -> &'static str {
        match self {
            Self::Directory => Directory::NAME,
            Self::Search => Search::NAME,
            Self::Audit => Audit::NAME,
        }
    }

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
            PageError::Fenced | PageError::Behind => Self::Running,
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
            PageError::Ledger(error) => Self::Database(sqlx::Error::Io(error)),
        }
    }
}

/// A projection that can be made from nothing.
pub(crate) trait Rebuild: Projection {
    /// Its read tables. Every `view_*` table but `view_parked` is in the list of one projection.
    const TABLES: &'static [&'static str];
    /// The largest of them: it is filled by COPY and gets its indexes last.
    const FILLED: &'static str;
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

/// Asks for the streams that a projection leaves out to be folded anew; how many they are.
///
/// The runner does it within seconds, wherever it is. A stream that fails again stays out.
pub async fn retry_parked(place: &Place, target: Target) -> Result<u64, RebuildError> {
    let mut owner = migrate::connect_owner(&place.owner_url, &place.cell).await?;
    let asked = parked::ask(&mut owner, target.name()).await?;
    owner.close().await?;
    Ok(asked)
}

/// Drops the tables from before the last rebuild, and what a rebuild that was killed left behind.
pub async fn drop_old(place: &Place, target: Target) -> Result<(), RebuildError> {
    let live = migrate::schema_of(&place.cell);
    let schemas = Schemas::of(&live, target.name());
    let mut owner = migrate::connect_owner(&place.owner_url, &place.cell).await?;
    take_turn(&mut owner, target.name()).await?;
    for schema in [schemas.old, schemas.next] {
        let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
        sqlx::query(&sql).execute(&mut owner).await?;
    }
    end_turn(owner).await
}
