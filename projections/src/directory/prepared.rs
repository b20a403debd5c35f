//! A page as it is written: its statement, and what goes with it in one transaction.

use std::collections::HashMap;

use roster_store::Cell;
use sqlx::{Postgres, Transaction};
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
    pub(super) async fn write(self, cell: Cell) -> Result<(), PageError> {
        let Some((others, owners)) = self.others else {
            return self.statement.run(cell.pool()).await;
        };
        let mut transaction = begin(&cell).await?;
        others.write(&mut transaction).await?;
        self.statement.run(&mut *transaction).await?;
        others.write_access(&cell, &mut transaction, owners).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// A transaction whose commit need not wait for the disk.
pub(super) async fn begin(cell: &Cell) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    cell.pool()
        .begin_with("BEGIN; SET LOCAL synchronous_commit = off")
        .await
}
