//! What happened, event by event.

pub(crate) mod list;
