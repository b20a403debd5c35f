//! The log of a cell: append, read, claims, idempotency, checkpoints, sealing.
//!
//! The only writer of the `log_*` tables. It knows streams, events and claims, and leaves what they mean to `roster-domain`
//! and what is done with them to `roster-commands` and `roster-projections`.

pub mod anchors;
mod append;
pub mod audit;
mod bulk;
mod cell;
pub mod checkpoints;
pub mod copied;
mod error;
mod framework;
pub mod journal;
pub mod keys;
mod kinds;
pub mod leases;
mod link;
mod lookups;
pub mod migrate;
mod open_page;
mod opening;
mod prepared;
mod project;
mod read;
mod recent;
mod replay;
pub mod restore;
pub mod rotation;
mod scan;
mod sealing;
mod sequencer;
mod streams;
mod trace;
mod types;
pub mod unmatched;
mod vault;
pub mod verify;

pub use bulk::{BulkRoom, Load};
pub use cell::{Cell, CellConfig};
pub use error::StoreError;
pub use framework::AggregateStore;
pub use link::Link;
pub use open_page::OpenEvent;
pub use prepared::{ChunkVerdict, Prepared, Sent, Verdict};
pub use project::Project;
pub use read::{Recorded, Streams};
pub use replay::ReplayRepository;
pub use scan::{Heading, Standing};
pub use streams::{Loaded, TRUSTED};
pub use trace::TRACE;
pub use vault::{DataKey, Vault, VaultError};
