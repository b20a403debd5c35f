//! One purge: whom it is of, how far it is, and which customers could not be erased.
//!
//! Whom it is of was frozen when it started and is staged by the store; customers are erased by their own commands in the
//! same append as a chunk.

mod command;
mod decide;
mod event;
mod failure;
mod filter;
mod plan;
mod refusal;
mod state;
mod targets;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::PurgeCommand;
pub use decide::decide;
pub use event::PurgeEvent;
pub use failure::{FAILURE_PART, FailureDetail, StoredFailure};
pub use filter::{OpenFilter, PurgeFilter, SOUGHT_PART, Sought};
pub use plan::{LARGEST_PURGE, PurgeCounts, PurgeStatus, check_confirmation, check_total};
pub use refusal::PurgeRefusal;
pub use state::Purge;
pub use targets::{TARGETS_PART, Target, Targets};

impl Aggregate for Purge {
    const TYPE: &'static str = "purge";
    type Command = PurgeCommand;
    type Event = PurgeEvent;
    type Error = PurgeRefusal;
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
