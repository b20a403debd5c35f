//! The benchmark behind `cargo dev bench`: every path of Roster beside its limit, on the same machine in the same run.
//!
//! A stage measures rows that share a database. Nothing here is a test: figures go to the report, with their limits.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program for people at a terminal"
)]

mod bulk;
mod catch_up;
mod copy;
mod database;
mod directory;
mod dispatches;
pub mod http;
mod identity;
mod idle;
mod import;
mod interactive;
mod lists;
mod load;
mod machine;
mod message_db;
mod options;
mod peer;
pub mod people;
mod pgbench;
mod purge;
mod rebuild;
mod redis;
mod relay;
mod report;
mod resolve;
mod server;
mod size;
pub mod soak;
mod stats;
mod tenfold;
mod upserts;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use sqlx::{Connection, PgConnection};

use machine::Facts;
use options::{Arguments, Machine, Plan};
use report::Report;

use crate::plot::Plot;

/// One run of the benchmark.
struct Bench {
    plan: Plan,
    machine: Machine,
    names: Vec<String>,
    out: PathBuf,
}

impl Bench {
    /// Whether any of these rows was asked for.
    fn wants(&self, rows: &[&str]) -> bool {
        let asked = |row: &&str| {
            self.names
                .iter()
                .any(|name| row.starts_with(name.as_str()) || name.starts_with(row))
        };
        self.names.is_empty() || rows.iter().any(asked)
    }

    /// Writes a plot beside the report.
    fn draw(&self, name: &str, plot: &Plot) -> anyhow::Result<()> {
        Ok(std::fs::write(
            self.out.join(format!("{name}.svg")),
            plot.svg(),
        )?)
    }
}

/// Measures what the arguments of this process ask for, prints the table and writes `report.json`; fails where a stage did.
pub async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(peer) = arguments.serve_peer {
        return peer.serve().await.map(|()| ExitCode::SUCCESS);
    }
    let bench = Bench {
        plan: arguments.plan(),
        machine: Machine::read()?,
        out: std::path::absolute(&arguments.out)?,
        names: arguments.names,
    };
    tokio::fs::create_dir_all(&bench.out).await?;
    let mut connection = PgConnection::connect(&bench.machine.database_url)
        .await
        .context("Postgres does not answer")?;
    let mut report = Report {
        machine: Facts::read(&mut connection).await?,
        rows: Vec::new(),
        failures: Vec::new(),
        took: Vec::new(),
    };
    connection.close().await?;

    let stages = [
        (bulk::ROWS, Stage::Bulk),
        (catch_up::ROWS, Stage::CatchUp),
        (rebuild::ROWS, Stage::Rebuild),
        (verify::ROWS, Stage::Verify),
        (relay::ROWS, Stage::Relay),
        (identity::ROWS, Stage::Identity),
        (idle::ROWS, Stage::Idle),
    ];
    let stages = stages.into_iter().chain([
        (upserts::ROWS, Stage::Upserts),
        (directory::ROWS, Stage::Directory),
        (message_db::ROWS, Stage::MessageDb),
        (purge::ROWS, Stage::Purge),
        (dispatches::ROWS, Stage::Dispatches),
        (tenfold::ROWS, Stage::Tenfold),
        (size::ROWS, Stage::Size),
    ]);
    for (rows, stage) in stages {
        if !bench.wants(rows) {
            continue;
        }
        let started = Instant::now();
        let outcome = match stage {
            Stage::Bulk => bulk::run(&bench, &mut report).await,
            Stage::CatchUp => catch_up::run(&bench, &mut report).await,
            Stage::Rebuild => rebuild::run(&bench, &mut report).await,
            Stage::Verify => verify::run(&bench, &mut report).await,
            Stage::Relay => relay::run(&bench, &mut report).await,
            Stage::Identity => identity::run(&bench, &mut report).await,
            Stage::Idle => idle::run(&bench, &mut report).await,
            Stage::Upserts => upserts::run(&bench, &mut report).await,
            Stage::Directory => directory::run(&bench, &mut report).await,
            Stage::Purge => purge::run(&bench, &mut report).await,
            Stage::Dispatches => dispatches::run(&bench, &mut report).await,
            Stage::Tenfold => tenfold::run(&bench, &mut report).await,
            Stage::MessageDb => message_db::run(&bench, &mut report).await,
            Stage::Size => Box::pin(size::run(&bench, &mut report)).await,
        };
        if let Err(error) = outcome {
            let failure = format!("{}: {error:#}", rows.join(", "));
            say(&failure);
            report.failures.push(failure);
        }
        report.took.push((rows[0], started.elapsed().as_secs_f64()));
    }
    let path = bench.out.join("report.json");
    tokio::fs::write(&path, serde_json::to_vec_pretty(&report)?).await?;
    println!(
        "{}",
        if arguments.markdown {
            report.markdown()
        } else {
            report.table()
        }
    );
    say(&format!("written to {}", path.display()));
    Ok(if report.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Rows that share a database.
#[derive(Clone, Copy)]
enum Stage {
    Bulk,
    CatchUp,
    Rebuild,
    Verify,
    Relay,
    Identity,
    Idle,
    Upserts,
    Directory,
    Purge,
    Dispatches,
    Tenfold,
    MessageDb,
    Size,
}

/// Tells how far the run is.
fn say(text: &str) {
    eprintln!("{text}");
}
