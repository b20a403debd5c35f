//! What is known of a connector identity apart from customers: from whom rules keep it.
//!
//! Links and grants are the customer's own. This stream has a key of its own, because the person behind it may be nobody's
//! customer; it ends when nothing is left to know, also because a person is erased.

mod command;
mod decide;
mod event;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::IdentityCommand;
pub use decide::decide;
pub use event::IdentityEvent;
pub use refusal::IdentityRefusal;
pub use state::Identity;

impl Aggregate for Identity {
    const TYPE: &'static str = "identity";
    type Command = IdentityCommand;
    type Event = IdentityEvent;
    type Error = IdentityRefusal;
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
