//! What is kept about people beside their own streams, and goes when they are erased: rows of unmatched identities, and dispatches
//! that found nobody behind an identity that is theirs.

use std::collections::BTreeSet;

use roster_domain::access::ConnectorIdentity;
use roster_domain::channel::{CATALOGUE, Fact};
use roster_domain::customer::Customer;
use roster_domain::value::Value;
use roster_store::Project;

use crate::{CommandError, Directory};

/// How the field of a channel is called that nothing else binds, behind the channel's name.
const OWN_FIELD: &str = "_primary_key";

/// By what somebody is known elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Traces {
    identities: BTreeSet<ConnectorIdentity>,
    values: BTreeSet<String>,
}

impl Traces {
    /// Adds those of a customer: what is or was linked, and what could have been, by the values of the profile.
    pub(crate) fn add(&mut self, customer: &Customer) {
        let access = &customer.access;
        let links = access.links.iter().map(|link| &link.identity);
        self.identities
            .extend(links.chain(&access.blocked).cloned());
        self.values
            .extend(customer.customer_user_id.known().cloned());
        for (field, value) in customer.profile.known().into_iter().flatten() {
            let Value::Text(text) = value else {
                continue;
            };
            self.values.insert(text.clone());
            let own = field.strip_suffix(OWN_FIELD);
            let channels = CATALOGUE.iter().filter(|channel| match channel.fact {
                Fact::Phone => text.starts_with('+'),
                Fact::Email => text.contains('@'),
                Fact::ExternalUserId | Fact::Username => false,
            });
            let channels = channels.map(|channel| channel.name).chain(own);
            self.identities
                .extend(channels.filter_map(|channel| ConnectorIdentity::read(channel, text)));
        }
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
