//! Links between connectors and customers.

pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod list_all;
pub(crate) mod unlink;
