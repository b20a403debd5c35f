//! What every HTTP surface shares: credentials, the authorising extractor, errors, limits, read-your-writes, health and
//! the OpenAPI document.
//!
//! Owns how a request becomes a use case and how an outcome becomes an answer. Leaves permissions and rules to
//! `roster-commands`, and the routes of each dialect to its own crate.

mod body;
mod caller;
mod code;
mod credential;
mod docs;
mod error;
mod exchange;
mod finding;
#[cfg(test)]
mod foreign;
mod health;
mod idempotency;
mod json;
mod limits;
mod middleware;
mod position;
pub mod respond;
mod routes;
mod schemas;
mod scoped;
mod state;
mod synced;
mod token;
mod trace;

pub use body::{drain, has_type};
pub use caller::Caller;
pub use code::Code;
pub use error::{ApiError, Refusal};
pub use json::members;
pub use limits::{Limits, Rate};
pub use position::{MIN_POSITION, POSITION, PROJECTED};
pub use respond::Settled;
pub use routes::{RouteInfo, Surface, openapi, router};
pub use scoped::{Effect, Endpoint, Open, Scoped, ScopedStream};
pub use state::{App, AppParts, Bus};
pub use synced::ProjectedRows;
pub use token::{JwkSource, TokenKeyError, TokenRules, Tokens};
