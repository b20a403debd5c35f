//! `roster relay`: the stream of events on NATS.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use roster_projections::relay;
use roster_store::Cell;

use crate::bus::BusAddress;
use crate::config::Settings;
use crate::output;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Delete the stream of the cell and fill it again from the oldest event. Servers may go on meanwhile.
    Republish,
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<ExitCode> {
    let address = BusAddress::of(settings).context("no bus: set NATS_URL")?;
    let (client, _) = address.connect().await?;
    let session = Session::open(settings).await?;
    match command {
        Command::Republish => republish(&session.cell, &client, settings).await?,
    }
    session.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn republish(
    cell: &Cell,
    client: &async_nats::Client,
    settings: &Settings,
) -> anyhow::Result<()> {
    let head = cell.head_position().await?;
    let bar = output::count_bar(Some(head.unsigned_abs()), "events");
    let options = settings.nats.relay_options();
    let filled = relay::republish(cell, client, &options, |position| {
        bar.set_position(position.unsigned_abs());
    })
    .await?;
    bar.finish_and_clear();
    match filled {
        Some((stream, position)) => {
            output::line(format_args!("stream {stream} has {position} events"))?;
        }
        None => output::line("the log is empty")?,
    }
    Ok(())
}
