//! The project users API: the dialect that the customer directory's own console and SDKs speak.
//!
//! Owns shapes and paths, one endpoint a file. Leaves rules to the domain, permissions to the table of `roster-commands`,
//! and what all surfaces share to `roster-http`.

mod access;
mod audit;
mod csv_file;
mod dispatches;
mod fields;
mod filters;
#[cfg(test)]
mod foreign;
mod identities;
mod keys;
mod page;
mod record;
mod routes;
mod schema;
mod scim;
mod sync;
mod unmatched;
mod users;
mod whom;

pub use routes::{BASE, RUNTIME_BASE, SYNC_BASE, all, base_of, surface};
