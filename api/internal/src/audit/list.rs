//! `audit/list`: which agents were dispatched for whom, and what the platform put in.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::{Problem, Timestamp};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::Cursor;
use roster_projections::dispatches::{DispatchRow, JournalFilter, list};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::dispatches::texts;
use crate::fields;
use crate::page::{Page, Wanted, invalid_cursor};
use crate::whom::{self, Whose};

/// The longest text of a filter, in characters.
const LONGEST: usize = 512;

/// Filters and page. A null or blank filter is absent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListDispatchesRequest)]
pub(crate) struct Request {
    /// For the customer who has this id now.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// For this customer, who may be erased.
    #[serde(default, deserialize_with = "fields::text")]
    customer_ref: Option<String>,
    /// Part of the endpoint, without regard to case.
    #[serde(default, deserialize_with = "fields::text")]
    endpoint: Option<String>,
    /// On this channel.
    #[serde(default, deserialize_with = "fields::text")]
    channel: Option<String>,
    /// Of this agent, without regard to case.
    #[serde(default, deserialize_with = "fields::text")]
    agent_alias: Option<String>,
    /// Only those that found a customer, or that did not.
    #[serde(default, deserialize_with = "fields::flag")]
    matched: Option<bool>,
    /// Only those of this time or later.
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Only those before this time.
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListDispatches;
    const EFFECT: Effect = Effect::Reads;
}

/// One dispatch. What it says about a person is null once the person was erased.
#[derive(Serialize, ToSchema)]
#[schema(as = DispatchRecord)]
pub(crate) struct Item {
    /// The caller's name for the run.
    run_id: Option<String>,
    channel: String,
    /// The normalised external user id.
    external_user_id: Option<String>,
    /// Null where nobody was found.
    customer_user_id: Option<String>,
    /// The same as an opaque id.
    customer_ref: Option<Uuid>,
    agent_alias: String,
    endpoint: String,
    /// `linked`, `rule`, `claimed` or `none`.
    trust: String,
    /// What the platform put in, by input.
    #[schema(value_type = Object)]
    injected_fields: BTreeMap<String, Box<RawValue>>,
    /// Inputs that the model wanted to fill and could not.
    dropped_llm_fields: Vec<String>,
    /// `allowed`, or why not.
    outcome: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl Item {
    pub(crate) fn of(row: DispatchRow) -> Result<Self, ApiError> {
        let DispatchRow {
            journal,
            customer_user_id,
        } = row;
        let (mut run_id, mut external_user_id) = (None, None);
        let (mut injected_fields, mut dropped_llm_fields) = (BTreeMap::new(), Vec::new());
        if let Some(record) = journal.record {
            injected_fields = texts(&record.injected)?;
            run_id = Some(record.run_id);
            external_user_id = Some(record.external_user_id);
            dropped_llm_fields = record.dropped;
        }
        Ok(Self {
            run_id,
            channel: journal.channel,
            external_user_id,
            customer_user_id,
            customer_ref: journal.customer_ref,
            agent_alias: journal.agent_alias,
            endpoint: journal.endpoint,
            trust: journal.trust,
            injected_fields,
            dropped_llm_fields,
            outcome: if journal.allowed {
                "allowed".to_owned()
            } else {
                journal.reason
            },
            created_at: journal.place.recorded_at.into(),
        })
    }
}

/// List dispatches
///
/// The newest first, as far as records are kept.
#[utoipa::path(
    post,
    path = "/audit/list",
    tag = "audit",
    request_body = Request,
    responses(
        (status = 200, description = "The newest first", body = Page<Item>),
        (status = 422, description = "`invalid_cursor`, or findings"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let input = call.input;
    let Wanted { page, page_size } = Wanted::new(input.page, input.page_size)?;
    let texts = [
        ("endpoint", &input.endpoint),
        ("agent_alias", &input.agent_alias),
    ];
    let is_long = |text: &String| text.chars().count() > LONGEST;
    if let Some((place, _)) = texts
        .iter()
        .find(|(_, text)| text.as_ref().is_some_and(is_long))
    {
        let message = "a filter has at most 512 characters";
        let problem = Problem::new([*place], "text_too_long", message);
        return Err(ApiError::body(problem));
    }
    let cursor = input.cursor.as_deref().map(str::parse::<Cursor>);
    let cursor = cursor.transpose().map_err(|_| invalid_cursor())?;
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let project = project.map_err(CommandError::from)?;
    let schema = app.schema(project.as_ref().map(|known| known.no)).await?;
    let channel = input.channel.map(|channel| schema.channel(&channel));
    let channel = channel.transpose().map_err(ApiError::body)?;
    let empty = Page::<Item>::empty(page, page_size);
    let Some(project) = project else {
        return Ok(respond::ok(&empty));
    };
    let (id, reference) = (input.customer_user_id, input.customer_ref.as_deref());
    let whose = whom::filtered(&app, &call.context, Request::OPERATION, id, reference);
    let customer_ref = match whose.await? {
        Whose::Everybodys => None,
        Whose::Of(stream) => Some(stream),
        Whose::Nobodys => return Ok(respond::ok(&empty)),
    };
    let filter = JournalFilter {
        customer_ref,
        endpoint: input.endpoint,
        channel,
        agent_alias: input.agent_alias,
        matched: input.matched,
        from: input.from.map(Timestamp::to_utc),
        to: input.to.map(Timestamp::to_utc),
        before: None,
        offset: i64::from(page - 1) * i64::from(page_size),
        limit: i64::from(page_size),
    };
    let found = list(cell, &project, filter, cursor.as_ref()).await?;
    let items = found.rows.into_iter().map(Item::of);
    Ok(respond::ok(&Page {
        items: items.collect::<Result<_, _>>()?,
        total: found.total,
        total_at_least: found.total_at_least,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}
