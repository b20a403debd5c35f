//! What can be done with a directory: one method a use case, and the jobs that go on after a request was answered.
//!
//! Owns authorisation, the retry of lost races, imports, purges and schema preparations. Leaves rules to `roster-domain`, storage
//! to `roster-store`, reading to `roster-projections` and every transport to the surfaces.

mod access;
pub mod authority;
pub mod clock;
pub mod context;
mod customers;
mod directory;
mod dispatch;
mod duplicates;
mod error;
mod execute;
pub mod import;
pub mod jobs;
pub mod keys;
mod known;
mod leased;
mod preparation;
mod purge;
mod schema;
mod sightings;
mod staged;
mod suppressions;
mod sweep;
pub mod sync;
mod traces;

pub use access::{AttachInput, Grantee, LinkInput, Linked, MatchedInput, UnlinkInput, Unlinked};
pub use context::{Actor, Context, IdempotencyKey};
pub use customers::{DataSourceInput, Erased, FindBy, UpsertInput, Upserted};
pub use directory::{Applied, Directory, Limits};
pub use dispatch::{AuditMode, DispatchInput, Dispatched};
pub use error::{CommandError, CsvProblem, NotFound};
pub use import::{ImportInput, ImportOptions, ImportStarted};
pub use jobs::{JobOptions, Jobs};
pub use purge::{Matched, PurgeInput, PurgeStarted};
pub use roster_store::{Project, TRACE};
pub use schema::{ActiveSchema, SchemaInput};
pub use sightings::UnmatchedLimits;
pub use sync::{
    ConnectionDeleted, ConnectionInput, ConnectionSaved, CredentialsInput, DeletedRows,
    MappingInput, RunInput, RunStarted, SyncOptions, Syncing,
};
