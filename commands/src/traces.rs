//! What is kept about people beside their own streams, and goes when they are erased: rows of unmatched identities, dispatches
//! that found nobody behind an identity that is theirs, and what syncs know of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use roster_domain::access::ConnectorIdentity;
use roster_domain::channel::{CATALOGUE, Fact};
use roster_domain::customer::Customer;
use roster_domain::value::Value;
use roster_store::Project;
use uuid::Uuid;

use crate::{CommandError, Directory, known};

/// How the field of a channel is called that nothing else binds, behind the channel's name.
const OWN_FIELD: &str = "_primary_key";

/// People who are erased.
#[derive(Clone, Default)]
pub(crate) struct Traces {
    people: Vec<Arc<Customer>>,
    streams: Vec<Uuid>,
}

/// By what people are known elsewhere.
#[derive(Default)]
struct Names<'a> {
    identities: BTreeSet<ConnectorIdentity>,
    values: BTreeSet<&'a str>,
}

impl Traces {
    /// Adds those of a customer.
    pub(crate) fn add(&mut self, stream: Uuid, customer: Arc<Customer>) {
        self.streams.push(stream);
        self.people.push(customer);
    }

    /// Adds those of others.
    pub(crate) fn extend(&mut self, others: &Self) {
        self.streams.extend(&others.streams);
        self.people.extend(others.people.iter().cloned());
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    fn names(&self) -> Names<'_> {
        let mut names = Names::default();
        self.people.iter().for_each(|customer| names.add(customer));
        names
    }
}

impl<'a> Names<'a> {
    /// Adds what is or was linked to a customer, and what could have been, by the values of the profile.
    fn add(&mut self, customer: &'a Customer) {
        let access = &customer.access;
        let links = access.links.iter().map(|link| &link.identity);
        self.identities
            .extend(links.chain(&access.blocked).cloned());
        let id = customer.customer_user_id.known();
        self.values.extend(id.map(String::as_str));
        for (field, value) in customer.profile.known().into_iter().flatten() {
            let (Value::Text(text) | Value::Number(text)) = value else {
                continue;
            };
            self.values.insert(text);
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
    /// Takes the traces of people away. Before their erasure is appended, so that none is left where this server dies in between;
    /// and once more after it, for what came in meanwhile.
    pub(crate) async fn forget_traces(
        &self,
        project: &Project,
        traces: &Traces,
    ) -> Result<(), CommandError> {
        if traces.is_empty() {
            return Ok(());
        }
        let knows_strangers = async { Ok(self.cell().knows_strangers(project).await?) };
        let known = known::forget(self.cell(), &traces.streams);
        let ((), knows_strangers) = tokio::try_join!(known, knows_strangers)?;
        if !knows_strangers {
            return Ok(());
        }
        let names = traces.names();
        for identity in &names.identities {
            self.sightings().forget(project, identity);
        }
        let identities: Vec<ConnectorIdentity> = names.identities.into_iter().collect();
        let values: Vec<&str> = names.values.into_iter().collect();
        let forgotten = self.cell().forget_unmatched(project, &identities, &values);
        Ok(forgotten.await?)
    }
}
