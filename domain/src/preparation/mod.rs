//! The job that reads and claims stored values before a schema takes effect.
//!
//! It only counts and reports; whether the schema takes effect is the schema's own decision.

mod command;
mod decide;
mod event;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::PreparationCommand;
pub use decide::decide;
pub use event::{Outcome, PreparationEvent};
pub use refusal::PreparationRefusal;
pub use state::{Duplicate, Preparation};

impl Aggregate for Preparation {
    const TYPE: &'static str = "preparation";
    type Command = PreparationCommand;
    type Event = PreparationEvent;
    type Error = PreparationRefusal;
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
