//! `unmatched/list`: identities that were seen and are nobody's, with whom the rules suggest.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts, Via};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::Cursor;
use roster_projections::identities::IdentityFilter;
use roster_projections::identity::Asked;
use roster_projections::unmatched::{UnmatchedRow, list};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields;
use crate::page::{self, Page, Wanted, invalid_cursor};

/// Which page of which identities.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListUnmatchedRequest)]
pub(crate) struct Request {
    /// On this channel only.
    #[serde(default, deserialize_with = "fields::text")]
    channel: Option<String>,
    /// Part of the identity or of what the channel told.
    #[serde(default, deserialize_with = "fields::text")]
    search: Option<String>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// The `next_cursor` of the page before, instead of `page`.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListUnmatched;
    const EFFECT: Effect = Effect::Reads;
}

/// An identity that is nobody's.
#[derive(Serialize, ToSchema)]
#[schema(as = UnmatchedIdentity)]
pub(crate) struct Item {
    channel: String,
    /// The normalised external user id.
    external_user_id: String,
    /// What the channel calls the person.
    display_name: Option<String>,
    facts: SeenFacts,
    #[schema(value_type = String, format = DateTime)]
    first_seen_at: Timestamp,
    /// Up to a minute old.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// How often, up to then.
    seen_count: i64,
    /// Whom the match rules find now.
    suggestions: Vec<Suggestion>,
}

/// What the channel told last.
#[derive(Serialize, ToSchema)]
#[schema(as = UnmatchedFacts)]
pub(crate) struct SeenFacts {
    phone: Option<String>,
    email: Option<String>,
    username: Option<String>,
}

/// A customer who may be meant.
#[derive(Serialize, ToSchema)]
#[schema(as = MatchSuggestion)]
pub(crate) struct Suggestion {
    customer_user_id: String,
    customer_ref: Uuid,
    /// The profile field that a rule found the customer by.
    field: String,
}

/// List unmatched identities
///
/// The newest first. An identity that a rule matches without linking it stays here with that suggestion; a link takes it away.
#[utoipa::path(
    post,
    path = "/unmatched/list",
    tag = "unmatched",
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
    let search = page::search(input.search)?;
    let cursor = input.cursor.as_deref().map(str::parse::<Cursor>);
    let cursor = cursor.transpose().map_err(|_| invalid_cursor())?;
    let cell = app.directory().cell();
    let project = cell.project(&call.context.scope).await;
    let project = project.map_err(CommandError::from)?;
    let schema = app.schema(project.as_ref().map(|known| known.no)).await?;
    let channel = input.channel.map(|channel| schema.channel(&channel));
    let filter = IdentityFilter {
        channel: channel.transpose().map_err(ApiError::body)?,
        search,
    };
    let Some(project) = project else {
        return Ok(respond::ok(&Page::<Item>::empty(page, page_size)));
    };
    let found = list(cell, &project, &filter, cursor.as_ref(), page, page_size).await?;
    let mut items = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        let identity = ConnectorIdentity {
            channel: row.channel.clone(),
            external_user_id: row.seen.external_user_id.clone(),
        };
        let facts = Facts {
            phone: row.seen.phone.clone(),
            email: row.seen.email.clone(),
            username: row.seen.username.clone(),
            verified: Vec::new(),
        };
        let asked = Asked {
            project_no: project.no,
            schema: &schema,
            identity: &identity,
            facts: &facts,
            now: app.clock().now(),
        };
        let found = app.identities().find(asked).await?;
        let by_rule = found.customer.filter(|_| found.via == Via::Rule);
        let suggestion = by_rule.zip(found.rule).map(|(person, rule)| Suggestion {
            customer_user_id: person.customer_user_id().to_owned(),
            customer_ref: person.stream,
            field: rule.field,
        });
        items.push(Item::of(row, suggestion));
    }
    Ok(respond::ok(&Page {
        items,
        total: found.total,
        total_at_least: found.total_at_least,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}

impl Item {
    fn of(row: UnmatchedRow, suggestion: Option<Suggestion>) -> Self {
        let seen = row.seen;
        Self {
            channel: row.channel,
            external_user_id: seen.external_user_id,
            display_name: seen.display_name,
            facts: SeenFacts {
                phone: seen.phone,
                email: seen.email,
                username: seen.username,
            },
            first_seen_at: row.first_seen_at.into(),
            last_seen_at: row.last_seen_at.into(),
            seen_count: row.seen_count,
            suggestions: suggestion.into_iter().collect(),
        }
    }
}
