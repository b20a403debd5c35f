//! `roster migrate`: the schemas and the service's role, with the owner's connection.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use secrecy::ExposeSecret;

use crate::config::Settings;
use crate::output;
use crate::session;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Print the URL of the service's role, password included, as the last line of standard output.
    #[arg(long)]
    print_service_url: bool,
}

pub(super) async fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let owner = settings
        .database
        .url
        .as_ref()
        .context("no database to migrate: set DATABASE_URL or database.url")?;
    let vault = session::vault(settings)?;
    let service_url = roster_store::migrate::migrate(owner, &settings.cell, &vault).await?;
    output::line(format_args!("cell {} is migrated", settings.cell))?;
    if args.print_service_url {
        output::line(service_url.expose_secret())?;
    }
    Ok(ExitCode::SUCCESS)
}
