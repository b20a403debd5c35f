//! Where a directory can be filled from: the sources, what they share, and the guarded way out to them.
//!
//! Owns requests, authentication, walks through pages and what vendors' errors mean. Leaves mapping, back-off, deletion and
//! everything that is written to `roster-commands`. A source is one file of `sources/`: its description and what is really its own.

mod engine;
mod outbound;
mod sources;

pub use outbound::{Outbound, OutboundOptions, Redactor};
pub use sources::all;
