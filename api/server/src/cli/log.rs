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
    /// Recompute digests and the chain of batches; compare stream heads, claims and signed anchors with the events.
    Verify(verify::Args),
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<ExitCode> {
    match command {
        Command::Tail(args) => {
            let session = Session::open(settings).await?;
            let code = tail::run(&args, &session.cell).await?;
            session.close().await;
            Ok(code)
        }
        Command::Verify(args) => {
            let session = Session::open_to_verify(settings).await?;
            let code = verify::run(&args, settings, &session.cell).await?;
            session.close().await;
            Ok(code)
        }
    }
}
