//! What Roster is about, without any input or output: scopes, values, schemas and the aggregates.
//!
//! Pure and synchronous. Time, ids and randomness come in with a command; storage, HTTP and SQL are unknown here.

pub mod access;
pub mod channel;
pub mod channel_access;
pub mod connection;
pub mod customer;
pub mod dispatch;
pub mod event;
pub mod identity;
pub mod import;
pub mod meta;
pub mod personal;
pub mod preparation;
pub mod problem;
pub mod purge;
pub mod registry;
pub mod schema;
pub mod scope;
pub mod stream;
pub mod suppression;
pub mod sync_run;
pub mod time;
pub mod value;

pub use personal::Personal;
pub use problem::Problem;
pub use scope::Scope;
pub use time::Timestamp;
