//! Why a page of events could not be applied.

use roster_domain::event::DecodeError;
use roster_store::{Recorded, StoreError};
use uuid::Uuid;

/// A page that was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// The lease went to another runner; nothing was written.
    #[error("the lease was lost")]
    Fenced,
    /// A newer build wrote this: the lease goes to a server that knows the type.
    #[error("unknown event type {type_no} version {type_version}")]
    Unknown {
        /// The stored number.
        type_no: i16,
        /// The stored version.
        type_version: i16,
    },
    /// One event that can never be applied.
    #[error("position {position} cannot be applied: {code}")]
    Poison {
        /// Its stream.
        stream: Uuid,
        /// Its place in the log.
        position: i64,
        /// A word for status and metrics.
        code: &'static str,
    },
    /// The tables that it is made from are not as far as they were: Postgres lost its last commits in a crash.
    #[error("the tables that it is made from are behind")]
    Behind,
    /// The ledger of erasures cannot be written.
    #[error("the ledger of erasures: {0}")]
    Ledger(std::io::Error),
    /// The log or its keys.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for PageError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl PageError {
    /// An event that does not decode: of a newer build, or damaged.
    pub(crate) fn decoding(recorded: &Recorded, error: StoreError) -> Self {
        match error {
            StoreError::Decode {
                source:
                    DecodeError::UnknownType {
                        type_no,
                        type_version,
                    },
                ..
            } => Self::Unknown {
                type_no,
                type_version,
            },
            StoreError::Decode { .. } => Self::Poison {
                stream: recorded.stream,
                position: recorded.position,
                code: "malformed_event",
            },
            other => Self::Store(other),
        }
    }

    /// Whether the same page may succeed later without any change.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }

    /// Whether a row was there that was thought to be new.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Store(StoreError::Database(sqlx::Error::Database(refused))) if refused.is_unique_violation())
    }

    /// A word for status and metrics, without any value: an SQLSTATE where the database refused.
    pub(crate) fn code(&self) -> String {
        match self {
            Self::Fenced => "fenced".into(),
            Self::Behind => "behind".into(),
            Self::Unknown { .. } => "unknown_event_type".into(),
            Self::Poison { code, .. } => (*code).into(),
            Self::Ledger(_) => "ledger_unwritable".into(),
            Self::Store(error) => code_of(error),
        }
    }
}

/// A word for a failure of the store, without any value.
pub(crate) fn code_of(error: &StoreError) -> String {
    match error {
        StoreError::Database(sqlx::Error::Database(refused)) => refused
            .code()
            .map_or_else(|| "database".into(), |code| format!("sqlstate_{code}")),
        StoreError::Database(_) => "database_unreachable".into(),
        StoreError::Hole { .. } => "log_damaged".into(),
        StoreError::Decode { .. } | StoreError::Malformed(_) => "malformed".into(),
        StoreError::Vault(_) => "sealed".into(),
        StoreError::Closed => "stopping".into(),
        _ => "store".into(),
    }
}
