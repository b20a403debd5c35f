//! The trace of a request: from the caller's `traceparent`, through the spans that may be exported, to the events that it
//! causes and so to subscribers.
//!
//! Whether spans are recorded is the server's setting. Where they are not, the caller's trace context is passed on as it is.

use axum::http::{HeaderMap, Method};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use roster_commands::TRACE;
use tracing::{Span, debug_span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The span of a request. Its names are our own words: a method that is none of HTTP's could be anything.
pub(crate) fn request(method: &Method, route: &str, headers: &HeaderMap) -> Span {
    let known = matches!(
        *method,
        Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::HEAD
    );
    let method = if known { method.as_str() } else { "_OTHER" };
    let span = debug_span!(
        target: TRACE,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
    );
    if !span.is_disabled()
        && let Some(parent) = traceparent(headers).and_then(remote)
    {
        // Fails only where nobody exports.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// Notes how it was answered.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The wait until reads show a position.
pub(crate) fn projection() -> Span {
    debug_span!(target: TRACE, "projection")
}

/// The trace context that goes on to the events of this request: its own span's, else the caller's.
pub(crate) fn passed_on(headers: &HeaderMap) -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let own = span.span_context();
    if own.is_valid() {
        let flags = own.trace_flags().to_u8();
        return Some(format!(
            "00-{}-{}-{flags:02x}",
            own.trace_id(),
            own.span_id()
        ));
    }
    traceparent(headers).map(str::to_owned)
}

/// The W3C trace context, if it has the form of version 00: anything else could be anything.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| {
        part.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let shape: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    (shape == [2, 32, 16, 2] && parts[0] == "00" && parts.iter().all(|part| hex(part)))
        .then_some(text)
}

/// The caller's span; none where an id is all zeros.
fn remote(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let context = SpanContext::new(
        TraceId::from_hex(parts.next()?).ok()?,
        SpanId::from_hex(parts.next()?).ok()?,
        TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?),
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{passed_on, remote};

    const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_trace_context_of_version_00_is_passed_on() {
        let of = |text| {
            passed_on(&HeaderMap::from_iter([(
                "traceparent".parse().ok()?,
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(of(OWN).as_deref(), Some(OWN));
        assert!(of("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01").is_none());
        assert!(of("ada@example.org").is_none());
    }

    #[test]
    fn ids_of_zeros_are_nobodys() {
        let parent = remote(OWN).expect("a parent");
        assert_eq!(parent.span_id().to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled() && parent.is_remote());
        assert!(remote("00-00000000000000000000000000000000-00f067aa0ba902b7-01").is_none());
    }
}
