//! What an SDK asks about its own credential.

pub(crate) mod validate;
