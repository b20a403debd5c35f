//! What happens around every handler, in one layer: request id, span, metrics, time-out, concurrency, panics, and the
//! headers of every answer.
//!
//! A span has the id, the method and the route's pattern: never a path, a query or a header of the caller, which may be
//! personal.

use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::exchange::Exchange;
use crate::{ApiError, App, Code, body, position, trace};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id is replaced.
const MAX_REQUEST_ID: usize = 128;

/// Mints request ids that differ between the servers of a cell.
pub(crate) struct RequestIds {
    boot: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self {
            boot: RandomState::new().hash_one("roster"),
            next: AtomicU64::new(1),
        }
    }

    fn mint(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("req_{:016x}{number:08x}", self.boot);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("req_0"))
    }
}

/// The caller's request id, if it has 1 to 128 visible ASCII characters.
fn given_id(request: &Request) -> Option<HeaderValue> {
    let value = request.headers().get(REQUEST_ID)?;
    let bytes = value.as_bytes();
    let usable =
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    usable.then(|| value.clone())
}

/// The layer.
pub(crate) async fn serve(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = given_id(&request).unwrap_or_else(|| app.request_ids().mint());
    let exchange = Exchange::new(id.clone());
    request.extensions_mut().insert(exchange.clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let trace = if is_probe(route) {
        Span::none()
    } else {
        trace::request(request.method(), route, request.headers())
    };
    let method = named(request.method());
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method,
        route
    );
    // Taken before the handler runs, so that the answer shows at least this much.
    let position = app.projected();
    let started = Instant::now();
    let limit =
        (!body::has_type(request.headers(), "text/csv")).then_some(app.limits().request_timeout);

    let mut response = guarded(&app, request, next, limit, is_probe(route))
        .instrument(trace.clone())
        .instrument(span)
        .await;
    trace::answered(&trace, response.status().as_u16());

    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers
        .entry(position::POSITION)
        .or_insert_with(|| position::header_value(app.epoch(), position));
    if let Some(allowance) = exchange.allowance() {
        allowance.write(headers);
    }
    count(method, route, &response, started.elapsed());
    response
}

/// Health and metrics are answered however busy the server is.
fn is_probe(route: &str) -> bool {
    matches!(route, "/healthz" | "/readyz" | "/version" | "/metrics")
}

/// Runs the handler within its time and a place among the concurrent requests; a panic becomes a 500.
async fn guarded(
    app: &App,
    request: Request,
    next: Next,
    limit: Option<Duration>,
    probe: bool,
) -> Response {
    let place = app.places().try_acquire();
    if place.is_err() && !probe {
        return ApiError::new(Code::Unavailable, "too many requests are under way")
            .retry_after(1)
            .into_response();
    }
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answer = match limit {
        None => answer.await,
        Some(limit) => match timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                return ApiError::new(Code::Timeout, "the request took too long").into_response();
            }
        },
    };
    // The panic hook has logged the reason, which may hold anything.
    answer.unwrap_or_else(|_| ApiError::internal("a handler panicked").into_response())
}

/// The method as metrics and logs name it: anybody may make more of them up, and each would be kept.
fn named(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let mut known = known.into_iter();
    known
        .find(|known| method.as_str() == *known)
        .unwrap_or("other")
}

fn count(method: &'static str, route: &str, response: &Response, elapsed: Duration) {
    let status = response.status();
    let labels = [
        ("method", method.into()),
        ("route", route.to_owned()),
        ("status", status.as_str().to_owned()),
    ];
    metrics::histogram!("roster_http_request_seconds", &labels).record(elapsed.as_secs_f64());
    tracing::debug!(
        method,
        route,
        status = status.as_u16(),
        micros = elapsed.as_micros(),
        "answered"
    );
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;

    use super::{REQUEST_ID, RequestIds, given_id};

    fn given(id: &str) -> Option<String> {
        let request = Request::builder()
            .header(REQUEST_ID, id)
            .body(Body::empty())
            .expect("a request");
        given_id(&request).and_then(|value| value.to_str().ok().map(str::to_owned))
    }

    #[test]
    fn a_usable_request_id_is_kept() {
        assert_eq!(given("abc-1"), Some("abc-1".into()));
        assert_eq!(given(&"x".repeat(128)).map(|id| id.len()), Some(128));
        for unusable in ["", "a b", "ä", &"x".repeat(129)] {
            assert_eq!(given(unusable), None, "{unusable}");
        }
    }

    #[test]
    fn minted_ids_differ() {
        let ids = RequestIds::new();
        assert_ne!(ids.mint(), ids.mint());
    }
}
