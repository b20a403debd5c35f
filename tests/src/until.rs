//! Asking again and again for what comes by itself, up to a deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::scale::patience;

/// How often to ask.
const LOOK: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// Where there is none in time; `what` says what was waited for.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let (started, patience) = (Instant::now(), patience());
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            started.elapsed() < patience,
            "{what}: not in {} s",
            patience.as_secs()
        );
    }
}

/// Runs a program to its end, or until it is interrupted: what it started is then dropped, and goes with it.
///
/// # Errors
/// The program's own, and where it is interrupted.
pub async fn uninterrupted<T>(
    program: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        ended = program => ended,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}
