//! The audit log of a project.

pub(crate) mod events;
