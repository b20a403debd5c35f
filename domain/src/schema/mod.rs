//! What a project says about its customers: fields, bindings, match rules.
//!
//! A [`Definition`] is what clients write, a [`Schema`] reads values by it, and [`ProjectSchema`] is the aggregate that
//! decides which definition is in effect.

mod change;
mod check;
mod command;
mod compiled;
mod decide;
pub mod definition;
mod event;
mod read;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use change::{preparation_fields, primary_key_changed};
pub use command::SchemaCommand;
pub use compiled::{CompiledField, Schema};
pub use decide::decide;
pub use definition::{
    CUSTOMER_USER_ID, ConnectorBinding, Definition, Field, FieldType, MatchMessages, MatchRule,
    Messages,
};
pub use event::SchemaEvent;
pub(crate) use event::sample_definition;
pub use refusal::SchemaRefusal;
pub use state::{Pending, PendingStatus, ProjectSchema};

impl Aggregate for ProjectSchema {
    const TYPE: &'static str = "schema";
    type Command = SchemaCommand;
    type Event = SchemaEvent;
    type Error = SchemaRefusal;
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
