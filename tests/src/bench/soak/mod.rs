//! The soak behind `cargo dev soak`: a steady mixed load on one server with a durable Postgres and a NATS, for minutes or hours.
//!
//! Whoever is created is erased again, so the population stays what it is, and so must everything that it explains: memory,
//! file descriptors, connections, read tables, claims, and what a command adds to the log. What grows beyond that is a finding.

mod caller;
mod judge;
mod report;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tokio::task::JoinSet;

use super::database::Database;
use super::import::write_schema;
use super::machine::Facts;
use super::options::Machine;
use super::say;
use super::server::Server;
use crate::scale::Pace;
use caller::{Caller, Tally};
use sample::{Sample, Sampler};

/// How long callers may take to end, with the purges that they wait for.
const END: Duration = Duration::from_mins(2);

/// A steady load, and whether anything grows.
#[derive(Clone, Debug, Parser)]
#[command(name = "soak", about)]
struct Arguments {
    /// How long the load goes on.
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Requests a second, of all callers together.
    #[arg(long, default_value_t = 150)]
    rate: u32,
    /// Callers at once.
    #[arg(long, default_value_t = 8)]
    callers: u32,
    /// Customers of each caller, besides those of its imports.
    #[arg(long, default_value_t = 250)]
    customers: u32,
    /// Seconds between samples.
    #[arg(long, default_value_t = 5)]
    every: u64,
    /// Seed of what callers do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of the report and the plots.
    #[arg(long, default_value = "target/soak")]
    out: PathBuf,
}

/// Runs what the command line asks for; fails where something was found.
pub async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let machine = Machine::read()?;
    std::fs::create_dir_all(&arguments.out)?;
    let database = Database::create(&machine, "soak").await?;
    let settings = [
        ("ROSTER_NATS__RELAY", "true"),
        // Small, so that it is full long before the samples that are compared.
        ("ROSTER_CACHE__STREAMS", "1000"),
    ];
    let folder = arguments.out.join("server");
    let mut server = Server::roster_with(&machine, &folder, &database.url(), &settings).await?;
    server.target = server.target.project("soak");
    write_schema(&server.target).await?;
    let everybody = json!({"channel": caller::CHANNEL, "external_user_id": "*", "agents": ["*"]});
    let grant = "users/attach-channel-grant";
    server.target.call(grant, &everybody).await?;
    let mut connection = database.connect().await?;
    let machine = Facts::read(&mut connection).await?;

    let tally = Arc::new(Tally::default());
    let sampler = Sampler::new(connection, &server, &tally).await?;
    let samples = load(&arguments, &server, sampler).await?;
    let findings = judge::findings(&samples, &tally, arguments.callers * caller::ROWS);
    server.stop().await?;
    database.drop().await?;
    report::write(&arguments.out, machine, &samples, &findings)?;
    for finding in &findings {
        say(&format!("FOUND: {finding}"));
    }
    say(&format!(
        "{} commands and {} reads in {} samples, {} findings; written to {}",
        tally.commands(),
        tally.reads(),
        samples.len(),
        findings.len(),
        arguments.out.display()
    ));
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Keeps the load up and samples meanwhile; the last sample is from after it, when reads have caught up.
async fn load(
    arguments: &Arguments,
    server: &Server,
    mut sampler: Sampler,
) -> anyhow::Result<Vec<Sample>> {
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), sampler.tally());
    let mut filling = JoinSet::new();
    for number in 0..arguments.callers {
        let (target, tally) = (server.target.clone(), Arc::clone(&tally));
        let (customers, seed) = (arguments.customers, arguments.seed);
        filling.spawn(async move {
            let mut caller = Caller::open(number, customers, seed, target, tally).await?;
            caller.fill().await?;
            anyhow::Ok(caller)
        });
    }
    let mut callers = Vec::new();
    while let Some(filled) = filling.join_next().await {
        callers.push(filled??);
    }
    server.caught_up().await?;
    let pace = Arc::new(Pace::start(arguments.rate));
    let mut calling = JoinSet::new();
    for caller in callers {
        calling.spawn(caller.run(Arc::clone(&pace), Arc::clone(&stop)));
    }
    let started = Instant::now();
    let end = started + Duration::from_secs(arguments.minutes * 60);
    let mut samples = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(arguments.every.max(1)));
    while Instant::now() < end {
        ticks.tick().await;
        let sample = sampler.take(started.elapsed()).await?;
        say(&sample.line());
        samples.push(sample);
    }
    stop.store(true, Ordering::Relaxed);
    let ended = async {
        while let Some(ended) = calling.join_next().await {
            ended?;
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(END, ended).await;
    ended.context("callers do not end: a purge does not")??;
    server.caught_up().await?;
    samples.push(sampler.take(started.elapsed()).await?);
    Ok(samples)
}
