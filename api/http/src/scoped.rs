//! The one way into a handler: authenticate, read the tenant, authorise, and only then look at the rest of the request.
//!
//! So a wrong credential is 401 whatever the body says, and a wrong tenant or a missing permission is 403 with the same
//! body whether or not the thing exists.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use roster_commands::Context;
use roster_commands::authority::Operation;
use serde::de::DeserializeOwned;

use crate::caller::Caller;
use crate::{ApiError, App, Code, body, idempotency, json, position};

/// What a route does to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: `Roster-Min-Position` counts, `Idempotency-Key` does not.
    Reads,
    /// Brings about a state: always executed, and harmless when repeated.
    Sets,
    /// The same by what it reads: `Roster-Min-Position` counts.
    SetsByReads,
    /// Starts something: a repeated request with the same `Idempotency-Key` gets the first answer.
    Starts,
}

/// A request that the table of permissions knows.
pub trait Endpoint: DeserializeOwned + Send + 'static {
    /// What the caller needs the permission for.
    const OPERATION: Operation;
    /// What it does.
    const EFFECT: Effect;

    /// Whether the answer comes from the search index, which follows behind the directory.
    fn searches(&self) -> bool {
        false
    }

    /// Whether the answer comes from the audit log, which follows as well.
    fn audits(&self) -> bool {
        false
    }
}

/// An authorised request with a JSON body.
pub struct Scoped<T> {
    /// Tenant and caller.
    pub context: Context,
    /// The body without its scope.
    pub input: T,
}

impl<T: Endpoint> FromRequest<App> for Scoped<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, stream) = request.into_parts();
        let caller = Caller::of(app, &parts).await?;
        body::require_json(&parts.headers)?;
        let body = body::read(
            &parts.headers,
            stream,
            app.limits().body_bytes,
            body::MAX_DRAINED,
        )
        .await?;
        let mut context = caller.enter(&parts, json::scope(&body)?, T::OPERATION)?;
        let input: T = json::parse(&body)?;
        match T::EFFECT {
            Effect::Reads | Effect::SetsByReads => {
                position::wait(app, &parts.headers, input.searches(), input.audits()).await?;
            }
            Effect::Sets => {}
            Effect::Starts => {
                let route = T::OPERATION.permission().route;
                context.idempotency = idempotency::key(
                    &parts.headers,
                    &context.scope,
                    caller.identity(),
                    route,
                    &body,
                )?;
            }
        }
        Ok(Self { context, input })
    }
}

/// An authorised request whose scope and options are in the query and whose body is a stream.
///
/// It has no idempotency key: whether two bodies are the same is known only when both were read.
pub struct ScopedStream<T> {
    /// Tenant and caller.
    pub context: Context,
    /// The query without its scope.
    pub input: T,
    /// The headers that describe the body.
    pub headers: HeaderMap,
    /// The body, unread.
    pub body: Body,
}

impl<T: Endpoint> FromRequest<App> for ScopedStream<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let caller = Caller::of(app, &parts).await?;
        let enter = || {
            let context = caller.enter(&parts, json::scope_of_query(&parts.uri)?, T::OPERATION)?;
            Ok((context, json::options(&parts.uri)?))
        };
        match enter() {
            Ok((context, input)) => Ok(Self {
                context,
                input,
                headers: parts.headers,
                body,
            }),
            Err(error) => {
                body::drain(body.into_data_stream()).await;
                Err(error)
            }
        }
    }
}

/// A JSON body of a request that needs no credential.
pub struct Open<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Open<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, stream) = request.into_parts();
        body::require_json(&parts.headers)?;
        let limit = app.limits().body_bytes.min(MAX_OPEN_BODY);
        if declared(&parts) > limit {
            return Err(ApiError::new(
                Code::PayloadTooLarge,
                format!("the body is larger than {limit} bytes"),
            ));
        }
        json::parse_with(&body::read(&parts.headers, stream, limit, limit).await?).map(Self)
    }
}

/// Nobody without a credential may send more than this.
const MAX_OPEN_BODY: usize = 16 << 10;

fn declared(parts: &Parts) -> usize {
    let length = parts.headers.get(axum::http::header::CONTENT_LENGTH);
    length
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
