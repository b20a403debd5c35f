//! Bind an identity to the customer whom a match rule found.

use roster_domain::access::{ConnectorIdentity, Facts, Hits, LinkedBy, Lookup, Sighting, find};
use roster_domain::customer::{Customer, CustomerCommand};
use roster_domain::value::Value;
use uuid::Uuid;

use super::change::Whom;
use crate::authority::Operation;
use crate::schema::ActiveSchema;
use crate::{Applied, CommandError, Context, Directory, NotFound};

/// A link that a rule calls for.
#[derive(Clone, Copy, Debug)]
pub struct MatchedInput<'a> {
    /// Where the identity was seen: the caller needs the permission of that, not of linking by hand.
    pub operation: Operation,
    /// The customer's stream.
    pub customer_ref: Uuid,
    /// The identity.
    pub identity: &'a ConnectorIdentity,
    /// What the channel told beside it.
    pub facts: &'a Facts,
}

impl Directory {
    /// Binds an identity to the customer whom a rule found, and says whether it is bound to that customer now.
    ///
    /// What the rule was asked of may be old by then. So the rules are asked again of the customer that the link is decided
    /// on; who is gone, blocked, without the value or too late is simply not linked, and the caller looks again.
    ///
    /// # Errors
    /// [`CommandError::Denied`], and failures of the store.
    pub async fn link_matched(
        &self,
        ctx: &Context,
        input: MatchedInput<'_>,
    ) -> Result<Applied<bool>, CommandError> {
        ctx.authorise(input.operation)?;
        let Some(project) = self.cell().project(&ctx.scope).await? else {
            return Ok(Applied::unchanged(false));
        };
        let at = self.now();
        let sighting = Sighting {
            identity: input.identity,
            facts: input.facts,
        };
        let make = |active: &ActiveSchema, customer: &Customer| {
            let outcome = find(&active.schema, &Alone(customer), sighting);
            let links = outcome.found.is_some_and(|found| found.links);
            let link = CustomerCommand::LinkIdentity {
                at,
                identity: input.identity.clone(),
                linked_by: LinkedBy::Auto,
            };
            Ok(links.then_some(link).into_iter().collect())
        };
        let whom = Whom::Stream(input.customer_ref);
        match self
            .change_customer(&project, &ctx.meta(), whom, make)
            .await
        {
            Ok(changed) => {
                Ok(changed.map(|changed| changed.after.access.link(input.identity).is_some()))
            }
            Err(
                CommandError::IdentityLinkedElsewhere { .. }
                | CommandError::NotFound(NotFound::Customer)
                | CommandError::VersionConflict { .. },
            ) => Ok(Applied::unchanged(false)),
            Err(error) => Err(error),
        }
    }
}

/// A directory of one customer.
struct Alone<'a>(&'a Customer);

impl Lookup for Alone<'_> {
    type Customer = ();

    fn linked(&self, identity: &ConnectorIdentity) -> Option<()> {
        self.0.access.link(identity).map(|_| ())
    }

    fn holders(&self, field: &str, value: &str) -> Hits<()> {
        let profile = self.0.profile.known();
        let own = profile.and_then(|profile| profile.get(field));
        if own.map(Value::as_text) == Some(value) {
            Hits::One(())
        } else {
            Hits::None
        }
    }

    fn is_blocked(&self, identity: &ConnectorIdentity, (): ()) -> bool {
        self.0.access.is_blocked(identity)
    }
}
