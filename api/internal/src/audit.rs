//! What happened: events of the log, and dispatches of agents.

pub(crate) mod events;
pub(crate) mod list;
