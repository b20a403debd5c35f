//! `identities/resolve-batch`: up to 500 identities in one request.

use axum::extract::State;
use axum::response::Response;
use futures::{StreamExt, stream};
use roster_commands::authority::Operation;
use roster_domain::Problem;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::resolve::Answer as One;
use super::resolving::{ResolveItem, resolve};

/// The most items.
const MOST: usize = 500;
/// Items that are looked up at once where they need the database.
const AT_ONCE: usize = 8;

/// Who was seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResolveIdentitiesRequest)]
pub(crate) struct Request {
    /// 1 to 500.
    items: Vec<ResolveItem>,
    /// Whether the customers' profiles are wanted, which costs a read each.
    #[serde(default)]
    include_profile: bool,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ResolveIdentities;
    const EFFECT: Effect = Effect::Reads;
}

/// Who they are.
#[derive(Serialize, ToSchema)]
#[schema(as = ResolveIdentitiesResponse)]
pub(crate) struct Answer {
    /// In the order of the items.
    items: Vec<Outcome>,
}

/// Who one is, or why that can't be said.
#[derive(Serialize, ToSchema)]
#[schema(as = ResolvedItem)]
pub(crate) struct Outcome {
    /// The place of the item, from 0.
    index: usize,
    /// The answer of `identities/resolve`.
    result: Option<One>,
    /// `{code, message, …}`; code `invalid` has `problems`.
    #[schema(value_type = Option<Object>)]
    error: Option<Value>,
}

/// Find the customers behind many identities
#[utoipa::path(
    post,
    path = "/identities/resolve-batch",
    tag = "identities",
    request_body = Request,
    responses((status = 200, description = "An outcome for each item", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Request {
        items,
        include_profile,
    } = call.input;
    let refuse = |kind, message| Err(ApiError::body(Problem::new(["items"], kind, message)));
    if items.is_empty() {
        return refuse("too_short", "at least one item is required");
    }
    if items.len() > MOST {
        return refuse("too_long", "at most 500 items");
    }
    let (app, context) = (&app, &call.context);
    let one = |item: ResolveItem| async move {
        let resolved = resolve(app, context, Request::OPERATION, &item).await?;
        let mut answer = One::of(&resolved);
        if include_profile {
            answer.read_profile(app, &resolved).await?;
        }
        Ok(answer)
    };
    let outcomes = stream::iter(items.into_iter().map(one)).buffered(AT_ONCE);
    let items = outcomes
        .enumerate()
        .map(|(index, outcome)| Outcome::of(index, outcome));
    Ok(respond::ok(&Answer {
        items: items.collect().await,
    }))
}

impl Outcome {
    fn of(index: usize, outcome: Result<One, ApiError>) -> Self {
        let (result, error) = match outcome {
            Ok(answer) => (Some(answer), None),
            Err(error) => {
                error.log();
                (None, Some(error.verdict()))
            }
        };
        Self {
            index,
            result,
            error,
        }
    }
}
