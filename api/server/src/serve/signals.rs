//! SIGINT and SIGTERM: the first asks to stop, the second to be quick about it.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What signals asked for.
#[derive(Clone)]
pub(crate) struct Signals {
    closing: CancellationToken,
    hurry: CancellationToken,
}

impl Signals {
    #[expect(
        clippy::disallowed_methods,
        reason = "it must outlive every task that a stop waits for"
    )]
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let signals = Self {
            closing: CancellationToken::new(),
            hurry: CancellationToken::new(),
        };
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        tokio::spawn(signals.clone().follow(interrupt, terminate));
        Ok(signals)
    }

    /// Cancelled when a stop was asked for.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Cancelled when it was asked for twice.
    pub(crate) fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Stops without a signal.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    async fn follow(self, mut interrupt: Signal, mut terminate: Signal) {
        for token in [self.closing, self.hurry] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    }
}
