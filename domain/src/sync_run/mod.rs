//! One run of a connection's sync: how far it is, what became of the records, and how it ended.
//!
//! Customers are changed by their own commands in the same append as a page's record.

mod command;
mod decide;
mod event;
mod plan;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::SyncRunCommand;
pub use decide::decide;
pub use event::SyncRunEvent;
pub use plan::{Page, Removals, RunStatus, Trigger};
pub use refusal::SyncRunRefusal;
pub use state::SyncRun;

impl Aggregate for SyncRun {
    const TYPE: &'static str = "sync_run";
    type Command = SyncRunCommand;
    type Event = SyncRunEvent;
    type Error = SyncRunRefusal;
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
