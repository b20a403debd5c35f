//! Who may use which agent over which channel: links, grants, the rules that decide, and matching.
//!
//! Pure, and free of storage: the state of a customer holds links and grants ([`Access`]), the aggregates of the
//! channels hold the wildcard, and the callers bring what they found.

mod decision;
mod identity;
mod matching;
mod message;
mod rows;
mod state;
mod terms;

pub use decision::{Decision, GrantSource, Grants, Holder, Reason, access};
pub use identity::{ConnectorIdentity, WILDCARD};
pub use matching::{Facts, Hits, Lookup, Matched, Outcome, Sighting, Trust, UsedRule, Via, find};
pub use message::message;
pub use rows::{ChannelRow, GrantRow, Person, channel_row, channel_rows, channels};
pub use state::{Access, Grant, Link, LinkedBy};
pub use terms::{GrantStatus, Terms};

pub(crate) use terms::TermsV1;
