//! `roster audit`: a copy of the log in another database that any `cqrs-es` program can read, its comparison, and the stream
//! on NATS as files.

mod export;
mod replay;
mod sink;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roster_store::audit::AuditCopy;
use secrecy::SecretString;

use crate::config::Settings;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write new events into a copy as decoded JSON, and erase there what was erased here since; may be stopped and repeated.
    Export(Target),
    /// Rebuild every customer of a copy from its events and compare it with the live record.
    Replay(Target),
    /// Write the stream on NATS into files of JSON lines, after the last line that is there; nothing in them is personal.
    Sink(sink::Args),
}

/// The copy.
#[derive(Debug, Parser)]
pub(super) struct Target {
    /// Its database, as a role that may create a table there. It holds personal values in the open.
    #[arg(
        long = "to",
        visible_alias = "from",
        value_name = "POSTGRES_URL",
        env = "ROSTER_AUDIT_URL",
        hide_env_values = true
    )]
    url: SecretString,
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<ExitCode> {
    let (target, is_export) = match command {
        Command::Export(target) => (target, true),
        Command::Replay(target) => (target, false),
        Command::Sink(args) => return sink::run(args, settings).await,
    };
    let copy = AuditCopy::connect(&target.url).await?;
    let session = Session::open(settings).await?;
    let outcome = if is_export {
        export::run(&session.cell, &copy).await
    } else {
        replay::run(&session.cell, &copy).await
    };
    copy.close().await;
    session.close().await;
    outcome
}
