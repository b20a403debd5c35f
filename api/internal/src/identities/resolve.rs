//! `identities/resolve`: who is behind an identity, and what they may use now.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_domain::access::GrantSource;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers;
use roster_projections::identity::Found;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::resolving::{ResolveItem, Resolved, SightedFacts, resolve};

/// Who was seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResolveIdentityRequest)]
pub(crate) struct Request {
    /// The channel.
    channel: String,
    /// The external user id, as the channel gives it.
    external_user_id: String,
    /// What else the channel tells.
    #[serde(default)]
    facts: Option<SightedFacts>,
    /// Whether the customer's profile is wanted, which costs a read.
    #[serde(default)]
    include_profile: bool,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ResolveIdentity;
    const EFFECT: Effect = Effect::Reads;
}

/// Who it is.
#[derive(Serialize, ToSchema)]
#[schema(as = ResolveIdentityResponse)]
pub(crate) struct Answer {
    /// Whether a customer was found.
    matched: bool,
    /// `matched`, `unmatched`, `ambiguous`, `blocked`, `customer_disabled`, `connector_disabled`, `no_grant`,
    /// `grant_disabled` or `grant_expired`.
    reason: &'static str,
    /// The customer.
    customer: Option<Person>,
    /// `link`, `rule` or `none`.
    via: &'static str,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    /// `linked`, `rule`, `claimed` or `none`: how far the channel vouches for it.
    trust: &'static str,
    /// What the person may use.
    access: Access,
    /// What to say to the person, if the schema has a text for it.
    message: Option<String>,
    /// The position of the log that the answer is of.
    position: i64,
}

/// The customer behind an identity.
#[derive(Serialize, ToSchema)]
#[schema(as = ResolvedCustomer)]
struct Person {
    customer_user_id: String,
    customer_ref: Uuid,
    display_name: String,
    enabled: bool,
    /// The values, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    profile: Option<Box<RawValue>>,
}

/// The rule that found the customer, or that found several.
#[derive(Serialize, ToSchema)]
#[schema(as = ResolvedRule)]
struct Rule {
    /// The channel that it is listed for, or `*`.
    channel: String,
    field: String,
    /// The fact that it was looked up by.
    source: &'static str,
}

/// What the person may use on the channel.
#[derive(Serialize, ToSchema)]
#[schema(as = ResolvedAccess)]
struct Access {
    /// Whether any agent may be used.
    allowed: bool,
    /// Why.
    reason: &'static str,
    /// The agents; `*` is every one.
    agents: Vec<String>,
    /// `specific`, `bound` or `wildcard`.
    grant_source: Option<&'static str>,
}

/// Find the customer behind an identity
///
/// An exact link, else the match rules of the schema. A match by a fact that the channel verifies is linked, unless the
/// schema has `auto_match` off. The customer of an identity that is switched off is found and not allowed.
#[utoipa::path(
    post,
    path = "/identities/resolve",
    tag = "identities",
    request_body = Request,
    responses((status = 200, description = "Who it is, or that nobody is known", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Request {
        channel,
        external_user_id,
        facts,
        include_profile,
    } = call.input;
    let item = ResolveItem {
        channel,
        external_user_id,
        facts,
    };
    let resolved = resolve(&app, &call.context, Request::OPERATION, &item).await?;
    let mut answer = Answer::of(&resolved);
    if include_profile {
        answer.read_profile(&app, &resolved).await?;
    }
    Ok(respond::ok(&answer))
}

impl Answer {
    pub(crate) fn of(resolved: &Resolved) -> Self {
        let found = &resolved.found;
        Self {
            matched: found.customer.is_some(),
            reason: found.reason.as_str(),
            customer: found.customer.as_ref().map(|person| Person {
                customer_user_id: person.customer_user_id().to_owned(),
                customer_ref: person.stream,
                display_name: person.display_name().to_owned(),
                enabled: person.enabled,
                profile: None,
            }),
            via: found.via.as_str(),
            rule: found.rule.as_ref().map(|rule| Rule {
                channel: rule.channel.clone(),
                field: rule.field.clone(),
                source: rule.source.as_str(),
            }),
            trust: found.trust.as_str(),
            access: Access::of(found),
            message: resolved.message.clone(),
            position: found.position,
        }
    }

    /// Adds the profile, unless the person is gone by now.
    pub(crate) async fn read_profile(
        &mut self,
        app: &App,
        resolved: &Resolved,
    ) -> Result<(), ApiError> {
        let (Some(customer), Some(project_no)) = (&mut self.customer, resolved.project_no) else {
            return Ok(());
        };
        let pool = app.directory().cell().pool();
        let row = customers::get_by_stream(pool, project_no, customer.customer_ref).await?;
        let profile = row.map(|row| RawValue::from_string(row.profile));
        customer.profile = profile.transpose().map_err(ApiError::internal)?;
        Ok(())
    }
}

impl Access {
    fn of(found: &Found) -> Self {
        Self {
            allowed: found.allowed,
            reason: found.reason.as_str(),
            agents: found.agents().to_vec(),
            grant_source: found.grant_source.map(GrantSource::as_str),
        }
    }
}
