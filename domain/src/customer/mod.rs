//! One person in a project: profile, data source, switches, links and grants.
//!
//! What everybody may use on a channel, and what is known of identities that are bound to nobody, are other aggregates.

mod access_shapes;
mod command;
mod decide;
mod event;
mod held;
mod identities;
mod refusal;
mod source;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::{ApplySchema, AttachGrant, CustomerCommand, Tagging, UnlinkIdentity, Upsert};
pub use decide::decide;
pub use event::{CustomerEvent, ProfileChange};
pub use refusal::CustomerRefusal;
pub use source::{DataSource, SourceKind};
pub use state::{Customer, Status, display_name};

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    type Command = CustomerCommand;
    type Event = CustomerEvent;
    type Error = CustomerRefusal;
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
