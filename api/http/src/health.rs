//! How the server does: `/healthz`, `/readyz`, `/version` and `/metrics`. None of them needs a credential or shows a tenant.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use roster_projections::ProjectionStatus;
use serde::Serialize;

use crate::respond::{json, ok};
use crate::state::Bus;
use crate::{ApiError, App, Code};

/// The routes.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

async fn alive() -> Response {
    ok(&Alive { status: "ok" })
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

async fn version() -> Response {
    ok(&Version {
        name: "roster",
        version: env!("CARGO_PKG_VERSION"),
    })
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    postgres: &'static str,
    bus: &'static str,
    head: Option<i64>,
    projections: Vec<Projection>,
}

/// One projection: how far it is behind, and what it had to set aside.
#[derive(Serialize)]
struct Projection {
    name: &'static str,
    version: i32,
    position: i64,
    lag: i64,
    parked_streams: usize,
    stale: bool,
    error: Option<String>,
}

impl From<ProjectionStatus> for Projection {
    fn from(status: ProjectionStatus) -> Self {
        let ProjectionStatus {
            name,
            version,
            position,
            lag,
            parked_streams,
            stale,
            error,
            ..
        } = status;
        Self {
            name,
            version,
            position,
            lag,
            parked_streams,
            stale,
            error,
        }
    }
}

/// Ready while the database answers: a projection that is behind or a bus that is away degrades, it does not stop.
async fn ready(State(app): State<App>) -> Response {
    let head = app.head_in_log().await.ok();
    let projections: Vec<Projection> = app
        .projections()
        .status()
        .into_iter()
        .map(Into::into)
        .collect();
    let failing = projections
        .iter()
        .any(|projection| projection.error.is_some() || projection.stale);
    let degraded = failing || app.bus() == Bus::Degraded;
    let (code, status) = match (head, degraded) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (Some(_), true) => (StatusCode::OK, "degraded"),
        (Some(_), false) => (StatusCode::OK, "ready"),
    };
    let postgres = if head.is_some() { "ok" } else { "unavailable" };
    let bus = match app.bus() {
        Bus::Off => "off",
        Bus::Ok => "ok",
        Bus::Degraded => "degraded",
    };
    json(
        code,
        &Ready {
            status,
            postgres,
            bus,
            head,
            projections,
        },
    )
}

async fn metrics(State(app): State<App>) -> Response {
    let Some(handle) = app.metrics() else {
        return ApiError::new(Code::NotFound, "no such route").into_response();
    };
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        handle.render(),
    )
        .into_response()
}
