//! What can go wrong with the log. A lost race is not an error: it is a [`crate::Verdict`].

use crate::vault::VaultError;

/// A failure of the log or of what it holds.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres refused, or could not be reached. Whether a pending append was written is then unknown.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A key could not be unwrapped, or sealed bytes were changed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log has a hole or a double: nothing may be read past it.
    #[error("the log is damaged: expected position {expected}, found {found}")]
    Hole {
        /// The position that should follow.
        expected: i64,
        /// The position that follows.
        found: i64,
    },
    /// A stored event is not one of this build.
    #[error("position {position}: {source}")]
    Decode {
        /// Where.
        position: i64,
        /// Why.
        source: roster_domain::event::DecodeError,
    },
    /// A stored row does not have the form that this build writes.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A shape in the log has another fingerprint than in this build.
    #[error(
        "event type {name} version {type_version} was written with fingerprint {stored}, this build has {built}"
    )]
    TypeMismatch {
        /// Public name of the type.
        name: String,
        /// Version of the shape.
        type_version: i16,
        /// Fingerprint in `log_types`.
        stored: String,
        /// Fingerprint of this build.
        built: String,
    },
    /// The database has no schema of this cell, or an older one.
    #[error("the database is not migrated: {0}")]
    NotMigrated(String),
    /// Somebody is connected who has not a key-encryption key that is to be used.
    #[error(
        "a server is connected that has not key-encryption key {0}: give it both keys and restart it first"
    )]
    KeyMissingElsewhere(i16),
    /// The service's role has another password for the sake of another database.
    #[error(
        "role {role} serves database {database} of the same Postgres under another key-encryption key: use another cell name or another Postgres"
    )]
    RoleElsewhere {
        /// The role.
        role: String,
        /// The other database.
        database: String,
    },
    /// A restore into this database was interrupted.
    #[error("a restore into this database was interrupted: run `roster restore --force` again")]
    RestoreUnfinished,
    /// The server is stopping.
    #[error("the log is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later without any change: the failure is about the connection, the server or a race.
    ///
    /// SQLSTATE classes: 08 connection, 25 transaction state, 40 roll-back, 53 resources, 55 object state, 57 operator (such as
    /// a restart), 58 system.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(refused)) => refused
                .code()
                .and_then(|code| code.get(..2).map(str::to_owned))
                .is_none_or(|class| {
                    ["08", "25", "40", "53", "55", "57", "58"].contains(&class.as_str())
                }),
            Self::Closed
            | Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Protocol(_),
            ) => true,
            _ => false,
        }
    }
}
