//! `roster rebuild`: read tables anew from the log, beside the live ones, with the owner's connection.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use roster_projections::rebuild::{self, Place, Stage, Target};

use crate::config::Settings;
use crate::{output, session};

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Which read tables.
    projection: Named,
    /// Go back to the tables from before the last rebuild, after they caught up.
    #[arg(long, conflicts_with = "drop_old")]
    roll_back: bool,
    /// Drop the tables from before the last rebuild, which are kept until the next one otherwise.
    #[arg(long)]
    drop_old: bool,
    /// Only fold the customers anew whom these tables leave out, because an event of theirs could not be written.
    #[arg(long, conflicts_with_all = ["roll_back", "drop_old"])]
    parked: bool,
}

/// A projection on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Named {
    /// Customers, data sources, schemas, imports and what else is listed.
    #[value(alias = "customers")]
    Directory,
    /// The search index of customers.
    Search,
    /// The audit log.
    Audit,
}

pub(super) async fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let target = match args.projection {
        Named::Directory => Target::Directory,
        Named::Search => Target::Search,
        Named::Audit => Target::Audit,
    };
    let vault = session::vault(settings)?;
    let place = Place {
        owner_url: session::owner_url(settings)?,
        service_url: session::service_url(settings, &vault).await?,
        cell: settings.cell.clone(),
        vault,
    };
    if args.drop_old {
        rebuild::drop_old(&place, target).await?;
        output::line("the old tables are gone")?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.parked {
        let parked = rebuild::retry_parked(&place, target).await?;
        if parked == 0 {
            output::line("these tables leave nobody out")?;
        } else {
            output::line(format_args!(
                "the service folds {parked} anew within seconds"
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let bar = output::count_bar(Some(0), "read");
    let show = |stage: Stage| match stage {
        Stage::Filling(done, total) => {
            bar.set_length(total);
            bar.set_position(done);
        }
        Stage::Indexing(name) => bar.set_message(name),
        Stage::Following(behind) => bar.set_message(format!("{behind} behind")),
    };
    let position = if args.roll_back {
        rebuild::roll_back(&place, target, &show).await?
    } else {
        rebuild::rebuild(&place, target, &show).await?
    };
    bar.finish_and_clear();
    let done = if args.roll_back {
        "the old tables are live again"
    } else {
        "the new tables are live, the old ones are kept for --roll-back"
    };
    output::line(format_args!("{done}, at position {position}"))?;
    Ok(ExitCode::SUCCESS)
}
