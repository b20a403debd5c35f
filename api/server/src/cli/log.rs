//! `roster log`: look at the event log and verify it.

mod tail;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::config::Settings;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print events: position, time, type, project, stream and version.
    Tail(tail::Args),
    /// Recompute digests and the chain of batches; compare stream heads and claims with the events.
    Verify,
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<ExitCode> {
    let session = Session::open(settings).await?;
    let code = match command {
        Command::Tail(args) => tail::run(&args, &session.cell).await?,
        Command::Verify => verify::run(&session.cell).await?,
    };
    session.close().await;
    Ok(code)
}
