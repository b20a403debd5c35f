//! `dispatches`: one call of an agent for whoever was seen on a channel.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{DispatchInput, Dispatched};
use roster_domain::access::Decision;
use roster_domain::dispatch::{Call, Inputs};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fields::Members;
use crate::identities::resolving::{ResolveItem, SightedFacts, resolve};

/// Who was seen, and which call is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DispatchRequest)]
pub(crate) struct Request {
    /// The channel.
    channel: String,
    /// The external user id, as the channel gives it.
    external_user_id: String,
    /// What else the channel tells.
    #[serde(default)]
    facts: Option<SightedFacts>,
    /// The caller's name for the run: the same run, agent and endpoint again get the first answer, for a day at least.
    run_id: String,
    /// The agent.
    agent_alias: String,
    /// What it is to call.
    endpoint: String,
    /// The profile field that fills an input, by the input's name; `customer_user_id` is one.
    #[serde(default)]
    #[schema(value_type = Object)]
    invoker_fields: Option<Members<String>>,
    /// What the model says, by the input's name; at most 64 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    llm_fields: Option<Members<Box<RawValue>>>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::Dispatch;
    const EFFECT: Effect = Effect::SetsByReads;
}

/// Whether the agent may be called, and with what.
#[derive(Serialize, ToSchema)]
#[schema(as = DispatchResponse)]
pub(crate) struct Answer {
    /// Whether it may be called.
    allowed: bool,
    /// Why: a word of `identities/resolve`, or `agent_not_granted`.
    reason: String,
    /// `linked`, `rule`, `claimed` or `none`: how far the channel vouches for whose data it is.
    trust: String,
    /// Values of the person, by input. An input whose profile field is empty is left out.
    #[schema(value_type = Object)]
    injected_fields: BTreeMap<String, Box<RawValue>>,
    /// Inputs that the model wanted to fill and may not, because the platform fills them.
    dropped_llm_fields: Vec<String>,
    /// Every input: what is injected, and what else the model said. Nothing where it may not be called.
    #[schema(value_type = Object)]
    fields: BTreeMap<String, Box<RawValue>>,
}

impl Answer {
    fn of(dispatched: Dispatched) -> Result<Self, ApiError> {
        let record = dispatched.record;
        Ok(Self {
            allowed: dispatched.allowed,
            reason: dispatched.reason,
            trust: dispatched.trust,
            injected_fields: texts(&record.injected)?,
            fields: texts(record.fields())?,
            dropped_llm_fields: record.dropped,
        })
    }
}

/// JSON texts as members of an answer.
pub(crate) fn texts<'a>(
    texts: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<String, Box<RawValue>>, ApiError> {
    texts
        .into_iter()
        .map(|(name, text)| {
            let value = RawValue::from_string(text.clone()).map_err(ApiError::internal)?;
            Ok((name.clone(), value))
        })
        .collect()
}

/// Dispatch an agent
///
/// Grants decide who may use the agent, the platform injects whose data it is about, and the model fills only the rest. Every
/// dispatch, a refused one too, is recorded before the answer is sent.
#[utoipa::path(
    post,
    path = "/dispatches",
    tag = "dispatches",
    request_body = Request,
    responses((status = 200, description = "Whether the agent may be called, and with what", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let said = input.llm_fields.unwrap_or_default().0.into_iter();
    let said = said.map(|(name, raw)| (name, Box::<str>::from(raw).into()));
    let inputs = Inputs::read(input.invoker_fields.unwrap_or_default().0, said);
    let named = Call::read(&input.run_id, &input.agent_alias, &input.endpoint);
    let (named, inputs) = match (named, inputs) {
        (Ok(named), Ok(inputs)) => (named, inputs),
        (named, inputs) => {
            let problems = [named.err(), inputs.err()].into_iter().flatten();
            return Err(ApiError::bodies(problems.flatten().collect()));
        }
    };
    let item = ResolveItem {
        channel: input.channel,
        external_user_id: input.external_user_id,
        facts: input.facts,
    };
    let resolved = resolve(&app, &call.context, Request::OPERATION, &item).await?;
    let found = resolved.found;
    let decision = Decision {
        allowed: found.allowed,
        reason: found.reason,
        agents: found.agents(),
        source: found.grant_source,
    }
    .for_agent(&named.agent_alias);
    let input = DispatchInput {
        inputs,
        identity: resolved.identity,
        customer_ref: found.customer.as_ref().map(|person| person.stream),
        allowed: decision.allowed,
        reason: decision.reason,
        trust: found.trust,
        call: named,
    };
    let dispatched = app
        .directory()
        .dispatch(&call.context, &resolved.schema, input)
        .await?;
    Ok(respond::ok(&Answer::of(dispatched)?))
}
