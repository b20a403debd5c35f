//! A connection that one task keeps for its own statement.
//!
//! The pool hands its connections out in turn, so that a statement is parsed and planned on each of them, and runs where
//! the last one did not.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

/// One connection of a pool, taken when it is first needed.
pub struct Link {
    pool: PgPool,
    connection: Option<PoolConnection<Postgres>>,
}

impl Link {
    /// Takes none yet.
    pub const fn new(pool: PgPool) -> Self {
        Self {
            pool,
            connection: None,
        }
    }

    /// The connection.
    ///
    /// # Errors
    /// Where the pool has none.
    pub async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let link = match &mut self.connection {
            Some(link) => link,
            free => free.insert(self.pool.acquire().await?),
        };
        Ok(&mut *link)
    }

    /// Whether it has one.
    pub const fn is_held(&self) -> bool {
        self.connection.is_some()
    }

    /// Lets it go, whatever state it is in: the next statement starts on a fresh one.
    pub fn give_up(&mut self) {
        if let Some(broken) = self.connection.take() {
            drop(broken.detach());
        }
    }
}
