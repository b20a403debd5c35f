//! The terminal: signals that ask us to stop, and commands that run in the foreground.

use std::io::IsTerminal;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How often a waiting command looks at its child and at the signals.
const POLL: Duration = Duration::from_millis(20);

/// Signals are collected from the start, so that none ends us before the servers are stopped.
pub(crate) struct Console {
    signals: Signals,
}

impl Console {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals")?;
        Ok(Self { signals })
    }

    /// Whether somebody asked us to stop since the last call.
    pub(crate) fn asked_to_stop(&mut self) -> bool {
        self.signals.pending().count() > 0
    }

    /// Waits a moment.
    pub(crate) fn pause() {
        thread::sleep(POLL);
    }

    /// Runs a command to its end. It shares our terminal, so Ctrl-C reaches it directly; what is
    /// sent to us alone is passed on.
    pub(crate) fn run(&mut self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let at_terminal = std::io::stdin().is_terminal();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            for received in self.signals.pending() {
                if !(received == SIGINT && at_terminal) {
                    // It may have ended just now.
                    let _ = signal::kill(pid, Signal::try_from(received)?);
                }
            }
            Self::pause();
        }
    }

    /// Runs a command that must succeed.
    pub(crate) fn require(&mut self, what: &str, command: &mut Command) -> anyhow::Result<()> {
        let status = self.run(command)?;
        if status.success() {
            Ok(())
        } else {
            bail!("{what} failed ({status})")
        }
    }
}

/// A child's exit as our own; 1 where a signal ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    )
}
