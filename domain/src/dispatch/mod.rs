//! The inputs of one agent call: the platform injects whose data it is, and the model fills only the rest.
//!
//! Whether the call may be made is decided by grants ([`crate::access`]); keeping what was recorded is the store's business.

mod call;
mod inputs;
mod record;

pub use call::Call;
pub use inputs::{Filled, Inputs};
pub use record::Record;
