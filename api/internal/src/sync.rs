//! Connections to outside sources and their runs, and imports whose columns a request names.

pub(crate) mod connections;
pub(crate) mod csv_mapped;
pub(crate) mod providers;
pub(crate) mod runs;
