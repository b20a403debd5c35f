//! Postgres and NATS of a test run: those that `cargo dev test` started, or a stack of this process.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context;
use roster_dev::stack::{Stack, StackOptions};

/// Where the servers of this run are.
#[derive(Debug)]
pub struct Cluster {
    /// The superuser's URL of the database `postgres`.
    pub database_url: String,
    /// The NATS server.
    pub nats_url: String,
    /// The folder of `pg_dump` and `psql`, where it is known.
    pub postgres_bin: Option<PathBuf>,
    /// The folder of what NATS keeps, where it is known.
    pub nats_dir: Option<PathBuf>,
    /// A stack that this process started, which ends with it.
    _stack: Option<Stack>,
}

/// The cluster, started at the first call of this process.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| start().expect("a test needs Postgres and NATS: run `cargo dev test`"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the run's servers are named by the environment, and only here"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The built `roster` binary of this run.
pub fn roster_binary() -> PathBuf {
    variable("ROSTER_TEST_BIN").map_or_else(
        || {
            let mut path = std::env::current_exe().expect("a test knows its own path");
            path.pop();
            if path.ends_with("deps") {
                path.pop();
            }
            path.join("roster")
        },
        PathBuf::from,
    )
}

fn start() -> anyhow::Result<Cluster> {
    if let (Some(database_url), Some(nats_url)) = (
        variable("ROSTER_TEST_DATABASE_URL"),
        variable("ROSTER_TEST_NATS_URL"),
    ) {
        let postgres_bin = variable("ROSTER_TEST_PG_BIN").map(PathBuf::from);
        return Ok(Cluster {
            database_url,
            nats_url,
            postgres_bin,
            nats_dir: variable("ROSTER_TEST_NATS_DIR").map(PathBuf::from),
            _stack: None,
        });
    }
    let folder = std::env::temp_dir().join(format!("roster-tests-{}", std::process::id()));
    let stack = Stack::start(StackOptions::throwaway(folder)).context("the stack did not start")?;
    Ok(Cluster {
        database_url: stack.maintenance_url(),
        nats_url: stack.nats_url().to_owned(),
        postgres_bin: stack.postgres_bin().map(PathBuf::from),
        nats_dir: stack.nats_dir(),
        _stack: Some(stack),
    })
}
