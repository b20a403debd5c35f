//! Read models: what the log says, as tables that can be listed and searched.
//!
//! A file per read table holds what events do to it beside its queries. [`Projections`] runs the projections of a cell and
//! tells when a position can be read; [`relay`] puts the log on NATS. Commands know nothing of this crate, and it changes nothing
//! but `view_*` tables and its own checkpoints.

pub mod audit;
pub mod blocks;
mod bucket;
pub mod connections;
pub mod customers;
pub mod data_sources;
mod directory;
pub mod dispatches;
pub mod erasures;
mod folds;
pub mod grants;
mod held;
pub mod identities;
pub mod identity;
pub mod import_issues;
pub mod imports;
mod pace;
mod page;
pub mod paging;
mod parked;
pub mod preparations;
mod progress;
mod projections;
pub mod purge_failures;
pub mod purges;
pub mod rebuild;
pub mod relay;
mod runner;
pub mod schemas;
mod search;
mod status;
pub mod suppressions;
pub mod sync_runs;
pub mod unmatched;

pub use projections::{ProjectionOptions, Projections};
pub use status::ProjectionStatus;

/// Why a read model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is no cursor, or of another list.
    #[error("the cursor is not one of this list")]
    InvalidCursor,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] roster_store::StoreError),
    /// The search index is behind, and the answer depends on it.
    #[error("the search index is behind")]
    Behind,
    /// A row has a form that this build does not write.
    #[error("a read model has a malformed row")]
    Malformed,
}
