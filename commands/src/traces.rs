//! What is kept about people beside their own streams, and goes when they are erased: rows of unmatched identities, and dispatches
//! that found nobody behind an identity that is theirs.

use std::collections::BTreeSet;

use roster_domain::access::ConnectorIdentity;
use roster_domain::customer::Customer;
use roster_domain::value::Value;
use roster_store::Project;

use crate::{CommandError, Directory};

/// By what somebody is known elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Traces {
    identities: BTreeSet<ConnectorIdentity>,
    values: BTreeSet<String>,
}

impl Traces {
    /// Adds those of a customer.
    pub(crate) fn add(&mut self, customer: &Customer) {
        let access = &customer.access;
        let links = access.links.iter().map(|link| &link.identity);
        self.identities
            .extend(links.chain(&access.blocked).cloned());
        let values = customer
            .profile
            .known()
            .into_iter()
            .flat_map(|profile| profile.values());
        self.values.extend(values.filter_map(|value| match value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(_) => None,
        }));
        self.values
            .extend(customer.customer_user_id.known().cloned());
    }
}

impl Directory {
    /// Takes the traces of people away. Before their erasure is appended, so that none is left where this server dies in between; and
    /// once more after it, for what came in meanwhile.
    pub(crate) async fn forget_traces(
        &self,
        project: &Project,
        traces: &Traces,
    ) -> Result<(), CommandError> {
        for identity in &traces.identities {
            self.sightings().forget(project, identity);
        }
        let identities: Vec<ConnectorIdentity> = traces.identities.iter().cloned().collect();
        let values: Vec<&str> = traces.values.iter().map(String::as_str).collect();
        Ok(self
            .cell()
            .forget_unmatched(project, &identities, &values)
            .await?)
    }
}
