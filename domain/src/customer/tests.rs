//! What a customer does.

mod access;
mod given;
mod lifecycle;
mod properties;
mod schema;
mod sources;
mod values;
