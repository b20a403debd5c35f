//! Identities that were seen and are nobody's.

pub(crate) mod dismiss;
pub(crate) mod list;
