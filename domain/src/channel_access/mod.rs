//! What everybody may use on one channel of a project: the grant of the wildcard `*`.

mod command;
mod decide;
mod event;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::ChannelAccessCommand;
pub use decide::decide;
pub use event::ChannelAccessEvent;
pub use refusal::ChannelAccessRefusal;
pub use state::ChannelAccess;

impl Aggregate for ChannelAccess {
    const TYPE: &'static str = "channel_access";
    type Command = ChannelAccessCommand;
    type Event = ChannelAccessEvent;
    type Error = ChannelAccessRefusal;
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
