//! The audit copy: the log as a standard `cqrs-es` event table in another database, through `postgres-es`.
//!
//! Events are decoded JSON with their personal parts as far as their keys exist: that is what an audit copy is for. It lies
//! outside Roster's erasure: nothing there is sealed, and only the next export rewrites what was erased since.
//!
//! `postgres-es` writes one transaction a call and keeps no order across aggregates, so a call gets a run of neighbouring
//! positions, and where the copy stands is derived from the positions in its own rows. A unique index on them refuses a double.

mod export;
mod replay;

use cqrs_es::persist::PersistenceError;
use postgres_es::PostgresEventRepository;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

use crate::{Cell, StoreError};

pub use export::{Exported, export};
pub use replay::{Difference, Replayed, replay};

/// Connections to the other database.
const POOL: u32 = 8;

/// The table of `postgres-es` as its `db/init.sql` describes it, and the order that it lacks.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE UNIQUE INDEX IF NOT EXISTS events_log_position ON events (((metadata ->> 'position')::bigint))";

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The live log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The other database refused, or could not be reached.
    #[error("the audit database failed: {0}")]
    Copy(#[from] sqlx::Error),
    /// `postgres-es` could not write.
    #[error("the audit database failed: {0}")]
    Repository(#[from] PersistenceError),
    /// Somebody else writes at the same positions.
    #[error("another export writes to this audit copy")]
    Raced,
    /// The table there is another one's.
    #[error("the table events there is {0}: export into an empty database")]
    Foreign(String),
}

/// An audit copy in its database.
pub struct AuditCopy {
    pool: PgPool,
    repository: PostgresEventRepository,
}

impl std::fmt::Debug for AuditCopy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AuditCopy").finish_non_exhaustive()
    }
}

impl AuditCopy {
    /// Connects to a database, whose table is made with the first export.
    pub async fn connect(url: &SecretString) -> Result<Self, AuditError> {
        let options: PgConnectOptions = url.expose_secret().parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(POOL)
            .connect_with(options.options([("client_min_messages", "warning")]))
            .await?;
        Ok(Self {
            repository: PostgresEventRepository::new(pool.clone()),
            pool,
        })
    }

    /// Makes the table where it is missing.
    async fn create(&self) -> Result<(), AuditError> {
        self.pool.execute(TABLE).await?;
        Ok(())
    }

    /// The last position that it has; 0 where it is empty.
    ///
    /// # Errors
    /// [`AuditError::Foreign`] where its events are not of this cell and epoch.
    async fn position(&self, cell: &Cell) -> Result<i64, AuditError> {
        // Rows without a position sort first here.
        let last: Option<(Option<i64>, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT (metadata ->> 'position')::bigint, metadata ->> 'cell', metadata ->> 'epoch'
               FROM events
              ORDER BY (metadata ->> 'position')::bigint DESC
              LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some((position, of_cell, of_epoch)) = last else {
            return Ok(0);
        };
        let Some(position) = position else {
            return Err(AuditError::Foreign("no audit copy of Roster".into()));
        };
        let epoch = cell.epoch().await?.to_string();
        let of = |name: Option<String>| name.unwrap_or_else(|| "?".into());
        let (of_cell, of_epoch) = (of(of_cell), of(of_epoch));
        if of_cell != cell.name() || of_epoch != epoch {
            return Err(AuditError::Foreign(format!(
                "a copy of the cell {of_cell} in epoch {of_epoch}, not of {} in epoch {epoch}",
                cell.name()
            )));
        }
        if position > cell.head_position().await? {
            return Err(AuditError::Foreign(format!(
                "ahead of the log: it goes to {position}"
            )));
        }
        Ok(position)
    }

    /// Closes its connections.
    pub async fn close(self) {
        self.pool.close().await;
    }
}
