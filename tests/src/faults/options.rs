//! What the command line asks of a campaign.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Breaks Roster, Postgres and NATS while commands run, and looks whether anything was lost.
#[derive(Clone, Debug, Parser)]
#[command(name = "faults", about)]
pub struct Arguments {
    /// Rounds, each on a new database.
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    /// Seed of the first round; each further round has the next number. A random one where absent.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Length of the faults of a round, in seconds; healing and checks come on top.
    #[arg(long, default_value_t = 8)]
    pub seconds: u64,
    /// Callers at once.
    #[arg(long, default_value_t = 8)]
    pub callers: usize,
    /// Servers on the cell; by the seed, 1 to 3, where absent.
    #[arg(long)]
    pub servers: Option<usize>,
    /// Kinds of faults, with commas; all that this machine allows where absent.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// End after this many minutes, whatever is left.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// Keep Postgres and NATS on an ordinary folder: no full disk, and no mount.
    #[arg(long)]
    pub no_disk: bool,
    /// Folder of the logs of a round that went wrong.
    #[arg(long, default_value = "target/faults")]
    pub out: PathBuf,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// SIGKILL of a server.
    KillServer,
    /// SIGSTOP of a server, and SIGCONT.
    PauseServer,
    /// SIGKILL of every process of Postgres.
    CrashPostgres,
    /// SIGSTOP of every process of Postgres, and SIGCONT.
    PausePostgres,
    /// SIGKILL of NATS.
    KillNats,
    /// SIGKILL of NATS, and its data removed.
    WipeNats,
    /// SIGSTOP of NATS, and SIGCONT.
    PauseNats,
    /// The way of a server to Postgres or NATS delays, drops, loses answers or is cut.
    Network,
    /// Nothing more can be written where Postgres and NATS keep their data.
    FullDisk,
    /// The clock of a server jumps.
    Clock,
    /// Every lease runs out under its owner.
    Leases,
    /// Servers, Postgres and NATS are killed together.
    PowerCut,
}
