//! A copy of the database as a folder: `manifest.json` and what `pg_dump` wrote, in `database/`.
//!
//! The copy has the log, its keys as they are wrapped, and the control schema. It has no read models: those hold personal
//! values that nothing seals, and are filled from the log again. So whoever destroys a key-encryption key ends its copies.

mod manifest;
mod programs;

pub(crate) use manifest::{CellHead, CopiedFile, Manifest, hash, hexadecimal};
pub(crate) use programs::{find, without_password};

/// The folder of what `pg_dump` wrote.
pub(crate) const DATABASE: &str = "database";
