//! How large a test is, and how patient: what the environment asks for, else what a busy machine does in seconds.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The value of a variable, where it is set and can be read.
#[expect(
    clippy::disallowed_methods,
    reason = "long versions of tests are asked for by the environment, and only here"
)]
pub fn asked<T: FromStr>(name: &str, default: T) -> T {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How long anything may take: `ROSTER_TEST_PATIENCE` in seconds, else three minutes, for a debug build on a busy machine.
pub fn patience() -> Duration {
    Duration::from_secs(asked("ROSTER_TEST_PATIENCE", 180))
}

/// A steady rate that several callers keep together. Who is late does not wait, so the rate is caught up with.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    gap: Duration,
    turns: AtomicU32,
}

impl Pace {
    /// So many turns a second from now on.
    pub fn start(per_second: u32) -> Self {
        Self {
            started: Instant::now(),
            gap: Duration::from_secs(1) / per_second.max(1),
            turns: AtomicU32::new(0),
        }
    }

    /// Waits for the next turn; its number, from 0.
    pub async fn turn(&self) -> u32 {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        sleep_until(self.started + self.gap * turn).await;
        turn
    }
}
