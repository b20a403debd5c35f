//! A customer id that imports and syncs must skip.

mod command;
mod decide;
mod event;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::SuppressionCommand;
pub use decide::decide;
pub use event::SuppressionEvent;
pub use refusal::SuppressionRefusal;
pub use state::Suppression;

impl Aggregate for Suppression {
    const TYPE: &'static str = "suppression";
    type Command = SuppressionCommand;
    type Event = SuppressionEvent;
    type Error = SuppressionRefusal;
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
