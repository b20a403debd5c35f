//! The test harness: a database for each test, cells over it, and servers as real processes.

pub mod bench;
pub mod bus;
pub mod client;
pub mod cluster;
pub mod database;
pub mod dump;
pub mod examples;
pub mod faults;
pub mod fold;
pub mod imports;
pub mod log;
pub mod node;
pub mod plot;
pub mod purges;
pub mod scale;
pub mod schema;
pub mod scripted;
pub mod server;
pub mod syncs;
pub mod traces;
pub mod until;
