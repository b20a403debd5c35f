//! One CSV import: its plan, how far it is, and what went wrong with which row.
//!
//! The body is staged by the store; customers are changed by their own commands in the same append as a chunk.

mod command;
mod decide;
mod event;
mod issue;
mod plan;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::ImportCommand;
pub use decide::decide;
pub use event::ImportEvent;
pub use issue::{IssueDetail, Severity, StoredIssue};
pub use plan::{Counts, EmptyCells, ImportStatus, OnConflict};
pub use refusal::ImportRefusal;
pub use state::Import;

impl Aggregate for Import {
    const TYPE: &'static str = "import";
    type Command = ImportCommand;
    type Event = ImportEvent;
    type Error = ImportRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        (): &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, &command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.fold(event);
    }
}
