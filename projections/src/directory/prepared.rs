//! A page as it is written: its statement, and what goes with it in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use roster_store::{Cell, Link};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::others::Others;
use super::statement::Statement;
use crate::customers::fold::Folded;
use crate::page::PageError;
use crate::runner::Step;

/// What a page does. Nothing of it is written yet.
pub(super) struct Prepared {
    step: Step,
    events: usize,
    statement: Statement,
    /// With the ids of the page's customers.
    others: Option<(Others, HashMap<Uuid, String>)>,
}

impl Prepared {
    pub(super) fn new(
        folded: &Folded,
        others: Option<Others>,
        events: usize,
        step: Step,
    ) -> Result<Self, PageError> {
        Ok(Self {
            step,
            events,
            statement: Statement::of(folded, step)?,
            others: others.map(|others| {
                let owners = others.owners(folded);
                (others, owners)
            }),
        })
    }

    /// Whether it is what so many events do in this step.
    pub(super) fn is_of(&self, events: usize, step: Step) -> bool {
        self.step == step && self.events == events
    }

    /// Writes it and moves the checkpoint.
    pub(super) async fn write(self, cell: Cell, link: Arc<Mutex<Link>>) -> Result<(), PageError> {
        let mut link = link.lock().await;
        let written = self.write_on(&cell, link.get().await?).await;
        if written.is_err() {
            link.give_up();
        }
        written
    }

    async fn write_on(self, cell: &Cell, link: &mut PgConnection) -> Result<(), PageError> {
        let Some((others, owners)) = self.others else {
            return self.statement.run(link).await;
        };
        let mut transaction = begin(link).await?;
        others.write(&mut transaction).await?;
        self.statement.run(&mut *transaction).await?;
        others.write_access(cell, &mut transaction, owners).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// A transaction whose commit need not wait for the disk.
pub(super) async fn begin(
    link: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    link.begin_with("BEGIN; SET LOCAL synchronous_commit = off")
        .await
}
