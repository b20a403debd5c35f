//! `roster audit sink`: the stream on NATS as files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use roster_projections::relay::{self, SinkOptions};

use crate::bus::BusAddress;
use crate::config::Settings;
use crate::output;
use crate::session::Session;

#[derive(Debug, Parser)]
pub(in crate::cli) struct Args {
    /// The folder of the files, which nothing else writes to.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,

    /// The size in MiB after which a file is followed by the next one.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    rotate_mib: u64,

    /// End when every event that is in the log now is written.
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let address = BusAddress::of(settings).context("no bus: set NATS_URL")?;
    let (client, _) = address.connect().await?;
    let session = Session::open(settings).await?;
    let options = SinkOptions {
        folder: args.to,
        file_bytes: args.rotate_mib << 20,
        once: args.once,
    };
    let head = session.cell.head_position().await?;
    let bar = output::count_bar(args.once.then_some(head.unsigned_abs()), "events");
    let work = relay::sink(&session.cell, &client, &options, |position| {
        bar.set_position(position.unsigned_abs());
    });
    let written = tokio::select! {
        written = work => Some(written?),
        _ = tokio::signal::ctrl_c() => None,
    };
    bar.finish_and_clear();
    if let Some(position) = written {
        output::line(format_args!(
            "every event up to position {position} is in the files"
        ))?;
    }
    session.close().await;
    Ok(ExitCode::SUCCESS)
}
