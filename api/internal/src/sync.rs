//! Connections to outside sources and their runs.

pub(crate) mod connections;
pub(crate) mod providers;
pub(crate) mod runs;
