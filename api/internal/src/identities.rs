//! Links between connector identities and customers, and who is behind an identity.

pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod list_all;
pub(crate) mod resolve;
pub(crate) mod resolve_batch;
pub(crate) mod resolving;
pub(crate) mod unlink;
