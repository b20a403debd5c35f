//! One saved link to an outside source: its settings, its cursor, its schedules and how its runs ended.
//!
//! Credentials, configuration and mapping are sealed under the connection's own key, which goes when it is deleted.

mod command;
mod decide;
mod event;
mod mapping;
mod refusal;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod transform;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

pub use command::ConnectionCommand;
pub use decide::decide;
pub use event::ConnectionEvent;
pub use mapping::{FieldMapping, Mapped, apply, at_path};
pub use refusal::ConnectionRefusal;
pub use settings::{Credentials, DeleteMissing, Mode, Schedule, Settings, Setup};
pub use state::{Connection, PAUSE_AFTER, id_text, parse_id};
pub use transform::Transform;

impl Aggregate for Connection {
    const TYPE: &'static str = "connection";
    type Command = ConnectionCommand;
    type Event = ConnectionEvent;
    type Error = ConnectionRefusal;
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
