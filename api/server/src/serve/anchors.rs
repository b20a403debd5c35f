//! The task that signs anchors: at the start, at the interval, and once more when the server stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use roster_commands::clock::Clock;
use roster_store::Cell;
use roster_store::anchors::Signer;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Settings;
use crate::session;

/// Starts it, where there is a key to sign with.
pub(super) fn start(
    settings: &Settings,
    cell: &Cell,
    clock: Arc<dyn Clock>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(key) = session::anchor_key(settings)? else {
        tracing::warn!(
            "no anchors are signed: without setting anchors.key a log that was computed anew passes for the true one"
        );
        return Ok(());
    };
    let path = settings.anchors_path();
    let public = key.public();
    let signer = Signer::open(cell.clone(), key, &path)
        .with_context(|| format!("anchors in {}", path.display()))?;
    tracing::info!(file = %path.display(), public_key = %public, "anchors are signed");
    let every = Duration::from_secs(settings.anchors.interval_seconds);
    tracker.spawn(run(signer, clock, every, stop));
    Ok(())
}

async fn run(mut signer: Signer, clock: Arc<dyn Clock>, every: Duration, stop: CancellationToken) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ends = stop.run_until_cancelled(ticks.tick()).await.is_none();
        match signer.sign(clock.now().to_utc()).await {
            Ok(Some(position)) => tracing::debug!(position, "anchored"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no anchor was signed"),
        }
        if ends {
            return;
        }
    }
}
