//! The list of routes and the router built from the surfaces.

use axum::Router;
use axum::middleware::from_fn_with_state;
use roster_commands::authority::Operation;
use serde_json::Value;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use utoipa_axum::router::OpenApiRouter;

use crate::{ApiError, App, Code, Effect, Endpoint, docs, health, middleware};

/// One route, for the router, the documentation and the authorisation-coverage test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The HTTP method.
    pub method: &'static str,
    /// The whole path.
    pub path: String,
    /// What the caller needs the permission for; `None` is open to everybody.
    pub operation: Option<Operation>,
    /// What it does.
    pub effect: Effect,
}

impl RouteInfo {
    /// The route of an endpoint, at its place below the base of the surface.
    pub fn of<E: Endpoint>(base: &str) -> Self {
        Self {
            method: "POST",
            path: format!("{base}/{}", E::OPERATION.permission().route),
            operation: Some(E::OPERATION),
            effect: E::EFFECT,
        }
    }

    /// Whether it changes the directory.
    pub fn mutates(&self) -> bool {
        self.effect != Effect::Reads
    }

    /// Whether it starts something that goes on after the answer.
    pub fn job_starting(&self) -> bool {
        self.effect == Effect::Starts
    }
}

/// The routes of one dialect, with their documentation.
pub struct Surface {
    /// The handlers.
    pub router: OpenApiRouter<App>,
    /// The same routes as a list.
    pub routes: Vec<RouteInfo>,
}

/// Smaller answers are not worth compressing: they fit one packet.
const MIN_COMPRESSED: u64 = 1024;

/// The OpenAPI document of some surfaces.
pub fn openapi(surfaces: Vec<Surface>) -> Value {
    assemble(surfaces).1
}

/// The whole HTTP side of a server.
pub fn router(app: App, surfaces: Vec<Surface>) -> Router {
    let (api, document) = assemble(surfaces);
    let worth_it = SizeAbove::new(MIN_COMPRESSED).and(NotForContentType::IMAGES);
    with_refusals(api.merge(health::router()).merge(docs::router(document)))
        .layer(from_fn_with_state(app.clone(), middleware::serve))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(worth_it),
        )
        .with_state(app)
}

fn assemble(surfaces: Vec<Surface>) -> (Router<App>, Value) {
    let (routers, routes): (Vec<_>, Vec<_>) = surfaces
        .into_iter()
        .map(|surface| (surface.router, surface.routes))
        .unzip();
    let merged = routers
        .into_iter()
        .fold(OpenApiRouter::new(), OpenApiRouter::merge);
    let (api, document) = merged.split_for_parts();
    (api, docs::complete(document, &routes.concat()))
}

/// Answers for paths and methods that no route has; 405 says in `Allow` which ones there are.
fn with_refusals<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async || ApiError::new(Code::NotFound, "no such route"))
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "the route has other methods")
        })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::with_refusals;

    #[tokio::test]
    async fn other_methods_are_405_and_other_paths_404() {
        let router: Router = with_refusals(
            Router::new().nest("/base", Router::new().route("/a", post(async || ""))),
        );
        for (method, path, status, allow) in [
            ("GET", "/base/a", 405, Some("POST")),
            ("DELETE", "/base/a", 405, Some("POST")),
            ("POST", "/b", 404, None),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .expect("a request");
            let response = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(
                response
                    .headers()
                    .get("allow")
                    .and_then(|value| value.to_str().ok()),
                allow
            );
            assert_eq!(response.headers()["content-type"], "application/json");
        }
    }
}
