//! What to measure, how large, and against which servers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

/// Measures Roster against the limits of the machine that it runs on.
#[derive(Debug, Parser)]
#[command(name = "bench", about)]
pub struct Arguments {
    /// Rows to measure, by the start of their names; all where none is given.
    pub names: Vec<String>,
    /// Small sizes: all rows in under three minutes. For a look, not for figures to quote.
    #[arg(long)]
    pub quick: bool,
    /// How often each measurement is made, in turns with its limit.
    #[arg(long)]
    pub runs: Option<usize>,
    /// Rows of the import, and of the directory that is listed.
    #[arg(long)]
    pub rows: Option<u32>,
    /// Events of the rows that are measured without HTTP.
    #[arg(long)]
    pub events: Option<u32>,
    /// Seconds of each measurement under load.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Print the table as Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Folder of the report, of the files that are imported and of the servers' logs.
    #[arg(long, default_value = "target/bench")]
    pub out: PathBuf,
    /// Serve the peer instead of measuring; the parent process ends it.
    #[arg(long, hide = true)]
    pub serve_peer: bool,
}

/// How large each measurement is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Measurements of each row.
    pub runs: usize,
    /// Rows of the import and of the directory that is listed.
    pub rows: u32,
    /// Rows of the import that interactive writes are measured in.
    pub import_behind: u32,
    /// Events of bulk append and of catch-up.
    pub events: u32,
    /// Customers before the upserts over HTTP, half of which are about them.
    pub customers: u32,
    /// Length of each measurement under load.
    pub load: Duration,
    /// Time before it that does not count.
    pub warm_up: Duration,
    /// Commands of each measurement that makes one at a time.
    pub singles: u32,
    /// Requests of each kind of list.
    pub lists: usize,
}

/// The servers and programs of this run.
#[derive(Clone, Debug)]
pub struct Machine {
    /// A superuser's URL of the database `postgres`.
    pub database_url: String,
    /// NATS.
    pub nats_url: String,
    /// The folder of `pgbench`, where it is not on the path.
    pub postgres_bin: Option<PathBuf>,
    /// The program `roster`.
    pub roster: PathBuf,
}

impl Arguments {
    /// The sizes that these arguments ask for.
    pub fn plan(&self) -> Plan {
        let plan = if self.quick {
            Plan {
                runs: 1,
                rows: 50_000,
                import_behind: 50_000,
                events: 30_000,
                customers: 10_000,
                load: Duration::from_secs(4),
                warm_up: Duration::from_secs(1),
                singles: 400,
                lists: 20,
            }
        } else {
            Plan {
                runs: 3,
                rows: 1_000_000,
                import_behind: 300_000,
                events: 200_000,
                customers: 100_000,
                load: Duration::from_secs(15),
                warm_up: Duration::from_secs(3),
                singles: 2_000,
                lists: 200,
            }
        };
        Plan {
            runs: self.runs.unwrap_or(plan.runs).max(1),
            rows: self.rows.unwrap_or(plan.rows).max(1_000),
            import_behind: plan.import_behind.min(self.rows.unwrap_or(plan.import_behind)),
            events: self.events.unwrap_or(plan.events).max(1_000),
            load: self.seconds.map_or(plan.load, Duration::from_secs),
            ..plan
        }
    }
}

impl Machine {
    /// Reads what `cargo dev bench` exports.
    pub fn read() -> anyhow::Result<Self> {
        let required = |name: &str| variable(name).with_context(|| format!("{name} is not set: run `cargo dev bench`"));
        Ok(Self {
            database_url: required("ROSTER_BENCH_DATABASE_URL")?,
            nats_url: required("ROSTER_BENCH_NATS_URL")?,
            postgres_bin: variable("ROSTER_BENCH_PG_BIN").map(PathBuf::from),
            roster: required("ROSTER_BENCH_BIN")?.into(),
        })
    }
}

/// A variable of the environment that is not empty.
#[expect(clippy::disallowed_methods, reason = "the run's servers are named by the environment, and only here")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
