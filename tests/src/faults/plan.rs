//! The faults of a round: what happens when, by its seed.

use std::time::Duration;

use clap::ValueEnum;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::options::Kind;
use super::way::Trouble;

/// Waits before a fault, and how long one lasts, in milliseconds.
const QUIET: std::ops::Range<u64> = 200..1_500;
const HOLD: std::ops::Range<u64> = 100..1_800;

/// What depends on what, by the number of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Of a server to Postgres.
    Postgres(usize),
    /// Of a server to NATS.
    Nats(usize),
}

/// What goes wrong. Servers are given by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    KillServer(usize),
    PauseServer(usize),
    CrashPostgres,
    PausePostgres,
    KillNats {
        wiped: bool,
    },
    PauseNats,
    Network {
        link: Link,
        trouble: Trouble,
        /// Whether what was held back is lost with its connection in the end, or comes late.
        lost: bool,
    },
    FullDisk,
    Clock {
        server: usize,
        seconds: i64,
    },
    Leases,
    PowerCut,
}

/// One fault with its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The wait before it.
    pub(super) quiet: Duration,
    pub(super) fault: Fault,
    /// Until it is healed.
    pub(super) hold: Duration,
}

/// Faults one after the other until the time is over.
pub(super) fn plan(
    random: &mut StdRng,
    total: Duration,
    servers: usize,
    kinds: &[Kind],
) -> Vec<Step> {
    let (mut steps, mut till) = (Vec::new(), Duration::ZERO);
    while till < total {
        let step = Step {
            quiet: Duration::from_millis(random.random_range(QUIET)),
            fault: fault(random, servers, kinds),
            hold: Duration::from_millis(random.random_range(HOLD)),
        };
        till += step.quiet + step.hold;
        steps.push(step);
    }
    steps
}

/// The kinds that were asked for, as far as this machine has them.
pub(super) fn kinds(only: &[Kind], has_disk: bool, has_clocks: bool) -> Vec<Kind> {
    let asked = if only.is_empty() {
        Kind::value_variants()
    } else {
        only
    };
    let is_possible = |kind: &Kind| match kind {
        Kind::FullDisk => has_disk,
        Kind::Clock => has_clocks,
        _ => true,
    };
    asked.iter().copied().filter(is_possible).collect()
}

fn fault(random: &mut StdRng, servers: usize, kinds: &[Kind]) -> Fault {
    let server = random.random_range(0..servers);
    let kind = kinds.choose(random).copied().unwrap_or(Kind::KillServer);
    match kind {
        Kind::KillServer => Fault::KillServer(server),
        Kind::PauseServer => Fault::PauseServer(server),
        Kind::CrashPostgres => Fault::CrashPostgres,
        Kind::PausePostgres => Fault::PausePostgres,
        Kind::KillNats => Fault::KillNats { wiped: false },
        Kind::WipeNats => Fault::KillNats { wiped: true },
        Kind::PauseNats => Fault::PauseNats,
        Kind::Network => Fault::Network {
            link: if random.random_ratio(2, 3) {
                Link::Postgres(server)
            } else {
                Link::Nats(server)
            },
            trouble: match random.random_range(0..4) {
                0 => Trouble::Slow(Duration::from_millis(random.random_range(5..150))),
                1 => Trouble::Silent,
                2 => Trouble::Deaf,
                _ => Trouble::Cut,
            },
            lost: random.random(),
        },
        Kind::FullDisk => Fault::FullDisk,
        Kind::Clock => Fault::Clock {
            server,
            seconds: [-86_400, -3_600, -30, 30, 3_600, 86_400][random.random_range(0..6)],
        },
        Kind::Leases => Fault::Leases,
        Kind::PowerCut => Fault::PowerCut,
    }
}
