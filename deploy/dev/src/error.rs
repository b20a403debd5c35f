//! What can go wrong before the stack answers.

use std::io;
use std::path::PathBuf;

use crate::version::Version;

/// Why the local stack could not start, or not stop.
///
/// Every message is one line (the log tail of [`StackError::Exited`] excepted) that a person at a
/// terminal can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Neither binaries nor wheels are to be had.
    #[error("{what} is not available: {install} ({reason})")]
    Missing {
        /// The server that is missing.
        what: &'static str,
        /// What to install.
        install: &'static str,
        /// Why the wheels did not help.
        reason: String,
    },
    /// The environment asks for servers from a place that there is not.
    #[error("ROSTER_RUNTIME is `wheels`, `installed`, or not set")]
    UnknownRuntime,
    /// A server that was given by URL is too old.
    #[error("{what} {found} is too old: {needed} or newer is needed")]
    TooOld {
        /// The server.
        what: &'static str,
        /// Its version.
        found: Version,
        /// The oldest version that works.
        needed: Version,
    },
    /// The NATS server runs without `JetStream`.
    #[error("the NATS server at {address} runs without JetStream: start it with `-js`")]
    NoJetStream {
        /// `host:port` that was asked.
        address: String,
    },
    /// The NATS server did not greet as one.
    #[error("no NATS server answers at {address}: {reason}")]
    NatsUnreachable {
        /// `host:port` that was asked.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// The data folder was made by another major version of Postgres.
    #[error(
        "{} holds data of PostgreSQL {found}, which is not installed: install it, or remove the \
         data (`cargo dev reset`)", path.display()
    )]
    OtherMajor {
        /// The data folder.
        path: PathBuf,
        /// The major version that wrote it.
        found: u32,
    },
    /// Another process runs a stack from the same folder.
    #[error("another process already runs a stack from {}", path.display())]
    InUse {
        /// The data folder.
        path: PathBuf,
    },
    /// A server of an earlier run is still there and does not stop.
    #[error("{what} of an earlier run (process {pid}) does not stop: stop it first")]
    Leftover {
        /// The server.
        what: &'static str,
        /// Its process id.
        pid: i32,
    },
    /// The caller is root and there is no account that Postgres could run as.
    #[error("Postgres refuses to run as root, and there is no account `postgres` or `nobody`")]
    NoAccount,
    /// The servers' account can't get at a folder, and no fallback was possible.
    #[error("the account that Postgres runs as can't reach {}: choose another folder", path.display())]
    Unreachable {
        /// The folder.
        path: PathBuf,
    },
    /// A program ended although it should not have, or failed.
    #[error("{what} failed:\n{log}")]
    Exited {
        /// The program.
        what: String,
        /// The last lines it wrote.
        log: String,
    },
    /// A server did not become ready, or did not stop, in time.
    #[error("{what} took longer than {seconds} s: {log}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The last lines it wrote.
        log: String,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The cause.
        source: io::Error,
    },
}

impl StackError {
    /// Turns an I/O error into a [`StackError`] that says what was attempted.
    pub(crate) fn io<W: Into<String>>(what: W) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
