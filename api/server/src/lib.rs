//! The server and the command line: configuration, wiring and one file per command.
//!
//! Everything that `roster` does lives in the crates below; this one decides what runs, where and with which limits.

pub mod bus;
pub mod cli;
mod client;
pub mod config;
mod copy;
pub mod demo;
mod managed;
mod output;
mod ready;
mod serve;
mod session;
mod telemetry;
mod token_keys;
