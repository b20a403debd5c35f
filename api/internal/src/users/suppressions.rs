//! Ids that imports and syncs skip.

pub(crate) mod list;
pub(crate) mod remove;
