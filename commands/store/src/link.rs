//! A connection that one task keeps for its own statement.
//!
//! The pool hands its connections out in turn, so that a statement is parsed and planned on each of them, and runs where
//! the last one did not.

use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgConnection, PgPool, Postgres};

/// One connection of a pool, taken when it is first needed.
pub struct Link {
    pool: PgPool,
    /// What a connection is told when it is taken.
    setup: Option<&'static str>,
    connection: Option<PoolConnection<Postgres>>,
}

impl Link {
    /// Takes none yet.
    pub const fn new(pool: PgPool) -> Self {
        Self {
            pool,
            setup: None,
            connection: None,
        }
    }

    /// The same, with a statement that each connection is sent before it is used.
    #[must_use]
    pub const fn with(mut self, setup: &'static str) -> Self {
        self.setup = Some(setup);
        self
    }

    /// The connection.
    ///
    /// # Errors
    /// Where the pool has none.
    pub async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let link = match &mut self.connection {
            Some(link) => link,
            free => {
                let mut link = self.pool.acquire().await?;
                if let Some(setup) = self.setup {
                    link.execute(setup).await?;
                }
                free.insert(link)
            }
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
