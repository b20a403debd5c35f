//! What the sources share.

pub(crate) mod answer;
pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod columns;
pub(crate) mod database;
pub(crate) mod describe;
pub(crate) mod fault;
pub(crate) mod opening;
pub(crate) mod place;
mod schema;
pub(crate) mod seen;
pub(crate) mod session;
pub(crate) mod table;
mod trail;

pub(crate) use answer::{Answer, at, record, word};
pub(crate) use api::Api;
pub(crate) use auth::Auth;
pub(crate) use columns::columns;
pub(crate) use fault::Fault;
pub(crate) use opening::Opening;
pub(crate) use place::Place;
pub(crate) use seen::{instant, seconds};
pub(crate) use session::Vendor;
