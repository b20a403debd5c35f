//! What to measure, how large, and against which servers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use super::peer::Peer;

/// Measures Roster against the limits of the machine that it runs on.
#[derive(Debug, Parser)]
#[command(name = "bench", about)]
pub(super) struct Arguments {
    /// Rows to measure, by the start of their names; all where none is given.
    pub(super) names: Vec<String>,
    /// Small sizes: all rows in under three minutes. For a look, not for figures to quote.
    #[arg(long)]
    pub(super) quick: bool,
    /// How often each measurement is made, in turns with its limit.
    #[arg(long)]
    pub(super) runs: Option<usize>,
    /// Rows of the import, and of the directory that is listed.
    #[arg(long)]
    pub(super) rows: Option<u32>,
    /// Events of the rows that are measured without HTTP.
    #[arg(long)]
    pub(super) events: Option<u32>,
    /// Seconds of each measurement under load.
    #[arg(long)]
    pub(super) seconds: Option<u64>,
    /// Print the table as Markdown.
    #[arg(long)]
    pub(super) markdown: bool,
    /// Folder of the report, of the files that are imported and of the servers' logs.
    #[arg(long, default_value = "target/bench")]
    pub(super) out: PathBuf,
    /// Serve a peer instead of measuring; the parent process ends it.
    #[arg(long, hide = true)]
    pub(super) serve_peer: Option<Peer>,
}

/// How large each measurement is.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Measurements of each row.
    pub(super) runs: usize,
    /// Measurements of the import of all rows, which takes minutes each time.
    pub(super) imports: usize,
    /// Rows of the import and of the directory that is listed.
    pub(super) rows: u32,
    /// Rows of the import that interactive writes are measured in.
    pub(super) import_behind: u32,
    /// Events of bulk append and of catch-up.
    pub(super) events: u32,
    /// Customers before the upserts over HTTP, half of which are about them.
    pub(super) customers: u32,
    /// Length of each measurement under load.
    pub(super) load: Duration,
    /// Time before it that does not count.
    pub(super) warm_up: Duration,
    /// Commands of each measurement that makes one at a time.
    pub(super) singles: u32,
    /// Requests of each kind of list.
    pub(super) lists: usize,
    /// Customers of the directories whose upserts are compared, the smallest first.
    pub(super) sizes: Vec<u32>,
}

/// The servers and programs of this run.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// A superuser's URL of the database `postgres`.
    pub(super) database_url: String,
    /// NATS.
    pub(super) nats_url: String,
    /// The folder of `pgbench`, where it is not on the path.
    pub(super) postgres_bin: Option<PathBuf>,
    /// The folder of `redis-server` and `redis-benchmark`, where they are not on the path.
    pub(super) redis_bin: Option<PathBuf>,
    /// The program `roster`.
    pub(super) roster: PathBuf,
}

impl Arguments {
    /// The sizes that these arguments ask for.
    pub(super) fn plan(&self) -> Plan {
        let plan = if self.quick {
            Plan {
                runs: 1,
                imports: 1,
                rows: 50_000,
                import_behind: 50_000,
                events: 30_000,
                customers: 10_000,
                load: Duration::from_secs(4),
                warm_up: Duration::from_secs(1),
                singles: 400,
                lists: 20,
                sizes: vec![20_000, 200_000],
            }
        } else {
            Plan {
                runs: 3,
                imports: 1,
                rows: 1_000_000,
                import_behind: 200_000,
                events: 200_000,
                customers: 100_000,
                load: Duration::from_secs(10),
                warm_up: Duration::from_secs(2),
                singles: 2_000,
                lists: 100,
                sizes: vec![50_000, 500_000, 5_000_000],
            }
        };
        Plan {
            runs: self.runs.unwrap_or(plan.runs).max(1),
            imports: self.runs.unwrap_or(plan.imports).max(1),
            rows: self.rows.unwrap_or(plan.rows).max(1_000),
            import_behind: plan
                .import_behind
                .min(self.rows.unwrap_or(plan.import_behind)),
            events: self.events.unwrap_or(plan.events).max(1_000),
            load: self.seconds.map_or(plan.load, Duration::from_secs),
            ..plan
        }
    }
}

impl Machine {
    /// Reads what `cargo dev bench` exports.
    pub(super) fn read() -> anyhow::Result<Self> {
        let required = |name: &str| {
            variable(name).with_context(|| format!("{name} is not set: run `cargo dev bench`"))
        };
        Ok(Self {
            database_url: required("ROSTER_BENCH_DATABASE_URL")?,
            nats_url: required("ROSTER_BENCH_NATS_URL")?,
            postgres_bin: variable("ROSTER_BENCH_PG_BIN").map(PathBuf::from),
            redis_bin: variable("ROSTER_BENCH_REDIS_BIN").map(PathBuf::from),
            roster: required("ROSTER_BENCH_BIN")?.into(),
        })
    }
}

/// A variable of the environment that is not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the run's servers are named by the environment, and only here"
)]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
