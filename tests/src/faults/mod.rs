//! A campaign of faults: real servers, Postgres and NATS are killed, paused, cut off and filled up while callers say commands;
//! then everything that was answered is held against the log, the read tables, the journal and the bus.
//!
//! A round is repeated by its seed: the same faults at the same times and the same commands of each caller. What meets what
//! is up to the machine. `cargo dev faults` runs it; CONTRIBUTING.md says how.

mod caller;
mod expected;
mod fleet;
mod ground;
mod ledger;
mod options;
mod outcome;
mod plan;
mod round;
mod said;
mod strike;
mod way;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::task::JoinError;
use tokio::time::Instant;

use self::fleet::faketime;
use self::ground::Ground;
pub use self::options::{Arguments, Kind};

/// Violations that are printed of one round.
const SHOWN: usize = 12;
/// Characters of each.
const LINE: usize = 1_500;

/// Runs what the command line asks for. It fails where a round found something wrong.
pub async fn main() -> anyhow::Result<ExitCode> {
    let broken = campaign(&Arguments::parse()).await?;
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs a campaign; the seeds of the rounds that found something wrong.
#[expect(
    clippy::print_stderr,
    reason = "a campaign tells its terminal how it goes"
)]
pub async fn campaign(arguments: &Arguments) -> anyhow::Result<Vec<u64>> {
    let first = arguments
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let deadline = arguments
        .minutes
        .map(|minutes| Instant::now() + Duration::from_mins(minutes));
    let mut ground = Ground::start(!arguments.no_disk)?;
    if faketime().is_none() {
        eprintln!("no clock jumps, for libfaketime is not installed");
    }
    let mut broken = Vec::new();
    let mut rounds = 0;
    for seed in first..first.saturating_add(arguments.rounds) {
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            eprintln!("the time is over after {rounds} rounds");
            break;
        }
        let started = Instant::now();
        let outcome = round::run(&mut ground, arguments, seed).await;
        rounds += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // The log of a server that does not start comes with it: its end says why.
                let text = format!("{error:#}");
                let lines: Vec<&str> = text.lines().collect();
                let end = lines.len().saturating_sub(SHOWN).max(1);
                eprintln!(
                    "seed {seed}: the round could not be run to its end: {}",
                    lines[0]
                );
                lines[end..].iter().for_each(|line| eprintln!("  {line}"));
                broken.push(seed);
                // Whatever was left as it is now belongs to no other round.
                ground.stop()?;
                ground = Ground::start(!arguments.no_disk)?;
                continue;
            }
        };
        let [done, refused, unknown] = outcome.counts;
        let (servers, ended) = outcome.servers;
        eprintln!(
            "seed {seed}: {servers} servers, {} faults, {done} acknowledged, {refused} refused, {unknown} unknown, {} events, \
             healed in {:.1} s, {:.1} s in all{}",
            outcome.faults.len(),
            outcome.events,
            outcome.healing.as_secs_f64(),
            started.elapsed().as_secs_f64(),
            if ended > 0 {
                format!(", {ended} servers ended by themselves")
            } else {
                String::new()
            },
        );
        if !outcome.violations.is_empty() {
            broken.push(seed);
            eprintln!(
                "seed {seed}: {} VIOLATIONS after {:?}",
                outcome.violations.len(),
                outcome.faults
            );
            for violation in outcome.violations.iter().take(SHOWN) {
                eprintln!("  {}", violation.chars().take(LINE).collect::<String>());
            }
            eprintln!(
                "  again: cargo dev faults --rounds 1 --seed {seed} --seconds {}",
                arguments.seconds
            );
        }
    }
    ground.stop()?;
    eprintln!(
        "{rounds} rounds from seed {first}, {} with violations {broken:?}",
        broken.len()
    );
    Ok(broken)
}

/// What a task said when it failed.
fn said_by(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "it was ended".into();
    };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
