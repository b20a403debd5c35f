//! What becomes of customers whose record is gone at their source.

use std::collections::HashSet;

use roster_domain::connection::DeleteMissing;
use roster_domain::customer::{Customer, CustomerCommand, decide};
use roster_domain::sync_run::Removals;
use roster_store::{Loaded, Prepared};
use uuid::Uuid;

use super::page::Desk;
use crate::traces::Traces;
use crate::{CommandError, NotFound};

/// Decided removals.
#[derive(Default)]
pub(super) struct Removed {
    pub(super) commands: Vec<Prepared>,
    pub(super) removals: Removals,
    /// Who waits for the next append.
    pub(super) left: Vec<Uuid>,
    /// The ids of those who are erased.
    pub(super) erased: Vec<String>,
    /// What is kept about them elsewhere.
    pub(super) traces: Traces,
}

/// What is done with one customer.
enum Fate {
    /// Another source's, gone already, or off already: nothing, and it counts nowhere.
    Left,
    /// The record is gone, and nothing else is wanted.
    Noted,
    Disabled,
    Deleted,
}

impl Desk {
    /// What customers come to whose record is gone, by their present states. Two who were kept from one identity do not go in one
    /// append: the second waits for the next one.
    pub(super) async fn remove(&self, streams: &[Uuid]) -> Result<Removed, CommandError> {
        let (directory, project) = (&self.directory, &self.project);
        let cell = directory.cell();
        let connection_id = self.connection.id_text();
        let mut removed = Removed::default();
        let mut taken = HashSet::new();
        for customer in cell.load_many::<Customer>(project, streams).await? {
            match self.fate(&customer) {
                Fate::Left => {}
                Fate::Noted => removed.removals.removed_at_source += 1,
                Fate::Disabled => {
                    let disable = CustomerCommand::DisableAtSource {
                        at: directory.now(),
                        connection_id: connection_id.clone(),
                    };
                    let events = decide(&customer.state, &disable)?;
                    let command = cell.prepare(project, &customer, events, &self.meta)?;
                    taken.insert(command.stream());
                    removed.commands.push(command);
                    removed.removals.removed_at_source += 1;
                    removed.removals.disabled += 1;
                }
                Fate::Deleted => {
                    let erasure = directory.erasure(project, &customer, false, &self.meta);
                    let commands = match erasure.await {
                        Ok(commands) => commands,
                        Err(CommandError::NotFound(NotFound::Customer)) => continue,
                        Err(error) => return Err(error),
                    };
                    if commands.iter().any(|own| taken.contains(&own.stream())) {
                        removed.left.push(customer.stream);
                        continue;
                    }
                    taken.extend(commands.iter().map(Prepared::stream));
                    removed.commands.extend(commands);
                    removed.removals.removed_at_source += 1;
                    removed.removals.deleted += 1;
                    let id = customer.state.customer_user_id.known().cloned();
                    removed.erased.extend(id);
                    removed.traces.add(customer.state);
                }
            }
        }
        Ok(removed)
    }

    fn fate(&self, customer: &Loaded<Customer>) -> Fate {
        let state = &customer.state;
        let is_own =
            state.source.connection_id.as_deref() == Some(self.connection.id_text().as_str());
        if !state.is_active() || !is_own {
            return Fate::Left;
        }
        match self.connection.settings.delete_missing {
            DeleteMissing::None if state.is_disabled_at_source => Fate::Left,
            DeleteMissing::None => Fate::Noted,
            DeleteMissing::Delete if !state.is_adopted => Fate::Deleted,
            DeleteMissing::Disable | DeleteMissing::Delete if state.enabled => Fate::Disabled,
            DeleteMissing::Disable | DeleteMissing::Delete => Fate::Left,
        }
    }
}
