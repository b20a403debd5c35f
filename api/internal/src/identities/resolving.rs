//! Who was seen on a channel: reads the sighting, finds the customer, links where a rule calls for it, and picks the message.
//! Every route that begins with an identity goes through here.

use std::sync::Arc;

use roster_commands::authority::Operation;
use roster_commands::{CommandError, Context, MatchedInput};
use roster_domain::Problem;
use roster_domain::access::{ConnectorIdentity, Facts, Via, message};
use roster_domain::channel::Fact;
use roster_domain::schema::Schema;
use roster_http::{ApiError, App};
use roster_projections::identity::{Asked, Found, Person};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::fields;

/// The longest fact, in characters.
const LONGEST_FACT: usize = 1_024;
/// Looks where links are lost to others, until the answer goes out without one.
const LOOKS: usize = 3;

/// Somebody who was seen on a channel.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Sighting)]
pub(crate) struct ResolveItem {
    /// The channel.
    pub(crate) channel: String,
    /// The external user id, as the channel gives it.
    pub(crate) external_user_id: String,
    /// What else the channel tells.
    #[serde(default)]
    pub(crate) facts: Option<SightedFacts>,
}

/// What a channel tells of somebody beside the id.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SightedFacts)]
pub(crate) struct SightedFacts {
    /// A telephone number.
    #[serde(default, deserialize_with = "fields::text")]
    pub(crate) phone: Option<String>,
    /// An e-mail address.
    #[serde(default, deserialize_with = "fields::text")]
    pub(crate) email: Option<String>,
    /// A handle.
    #[serde(default, deserialize_with = "fields::text")]
    pub(crate) username: Option<String>,
    /// What the person is called there.
    #[serde(default, deserialize_with = "fields::text")]
    pub(crate) display_name: Option<String>,
    /// The facts that the caller vouches for: `phone`, `email`, `username`.
    #[serde(default)]
    pub(crate) verified: Option<Vec<Verified>>,
}

/// A fact that the caller vouches for.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VerifiedFact)]
pub(crate) enum Verified {
    /// The telephone number.
    #[serde(alias = "connector.phone")]
    Phone,
    /// The e-mail address.
    #[serde(alias = "connector.email")]
    Email,
    /// The handle.
    #[serde(alias = "connector.username")]
    Username,
    /// The external user id.
    #[serde(alias = "connector.external_user_id")]
    ExternalUserId,
}

impl From<Verified> for Fact {
    fn from(verified: Verified) -> Self {
        match verified {
            Verified::Phone => Self::Phone,
            Verified::Email => Self::Email,
            Verified::Username => Self::Username,
            Verified::ExternalUserId => Self::ExternalUserId,
        }
    }
}

/// Who it is.
pub(crate) struct Resolved {
    /// The identity, normalised.
    pub(crate) identity: ConnectorIdentity,
    /// The customer and what they may use.
    pub(crate) found: Found,
    /// What to say to the person.
    pub(crate) message: Option<String>,
    /// The schema that decided.
    pub(crate) schema: Arc<Schema>,
    /// The project; `None` where nothing was ever written.
    pub(crate) project_no: Option<i32>,
}

/// Finds out who was seen.
///
/// # Errors
/// 422 for a channel that nobody knows, a text that is no identity of the channel, and facts that are too long; failures of
/// the read side and of the append of a link.
pub(crate) async fn resolve(
    app: &App,
    context: &Context,
    operation: Operation,
    item: &ResolveItem,
) -> Result<Resolved, ApiError> {
    let cell = app.directory().cell();
    let project = cell
        .project(&context.scope)
        .await
        .map_err(CommandError::from)?;
    let project_no = project.as_ref().map(|project| project.no);
    let schema = match project_no.and_then(|number| app.identities().schema(number)) {
        Some(schema) => schema,
        None => Box::pin(app.schema(project_no)).await?,
    };
    let identity = identity(&schema, item)?;
    let facts = facts(item.facts.as_ref())?;
    let mut found;
    let mut is_linked = false;
    let mut looks = 0;
    loop {
        looks += 1;
        let asked = Asked {
            // Projects are numbered from 1, so this one has nobody.
            project_no: project_no.unwrap_or_default(),
            schema: &schema,
            identity: &identity,
            facts: &facts,
            now: app.clock().now(),
        };
        found = app.identities().find(asked).await?;
        let Some(customer) = found.customer.as_ref().filter(|_| found.links) else {
            break;
        };
        let input = MatchedInput {
            operation,
            customer_ref: customer.stream,
            identity: &identity,
            facts: &facts,
        };
        // On the heap, as what follows: it is rare, and would make the future of every look-up large.
        let linked = Box::pin(app.directory().link_matched(context, input)).await?;
        let position = linked.position;
        is_linked = linked.value;
        Box::pin(app.settle(linked)).await;
        if is_linked {
            found.position = found.position.max(position.unwrap_or_default());
            break;
        }
        if looks == LOOKS {
            break;
        }
        // Somebody else was first, or the customer changed: reads show it by then.
        Box::pin(app.caught_up(false)).await?;
    }
    // Somebody whom a rule finds without linking them stays among the unmatched, with that suggestion.
    if let Some(project) = project.filter(|_| found.via != Via::Link && !is_linked) {
        let given = item.facts.as_ref();
        let seen_as = given.and_then(|facts| facts.display_name.as_deref());
        let directory = app.directory();
        directory.sight(&project, &identity, &facts, seen_as);
    }
    let name = found.customer.as_ref().map(Person::display_name);
    let message = message(
        &schema.definition().match_messages,
        &identity.channel,
        found.reason,
        name.unwrap_or_default(),
    );
    Ok(Resolved {
        identity,
        found,
        message,
        schema,
        project_no,
    })
}

/// The identity of a sighting. What arrives at run time is international: no region is applied to it.
fn identity(schema: &Schema, item: &ResolveItem) -> Result<ConnectorIdentity, ApiError> {
    let channel = schema.channel(&item.channel).map_err(ApiError::body)?;
    ConnectorIdentity::read(&channel, &item.external_user_id).ok_or_else(|| {
        let message = "must be an external user id of the channel";
        ApiError::body(Problem::new(
            ["external_user_id"],
            "identity_invalid",
            message,
        ))
    })
}

fn facts(given: Option<&SightedFacts>) -> Result<Facts, ApiError> {
    let Some(given) = given else {
        return Ok(Facts::default());
    };
    let texts = [
        ("phone", &given.phone),
        ("email", &given.email),
        ("username", &given.username),
        ("display_name", &given.display_name),
    ];
    let is_long = |text: &str| text.chars().nth(LONGEST_FACT).is_some();
    if let Some((name, _)) = texts
        .iter()
        .find(|(_, text)| text.as_deref().is_some_and(is_long))
    {
        let message = "a fact has at most 1024 characters";
        return Err(ApiError::body(Problem::new(
            ["facts", name],
            "text_too_long",
            message,
        )));
    }
    let verified = given.verified.iter().flatten().copied();
    Ok(Facts {
        phone: given.phone.clone(),
        email: given.email.clone(),
        username: given.username.clone(),
        verified: verified.map(Fact::from).collect(),
    })
}
