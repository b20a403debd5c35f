//! The OpenAPI document at `/openapi.json` and a page that shows it at `/docs`, both from this binary alone.
//!
//! The surfaces describe what is their own; what every route has in common is added here: scope, headers, security and
//! the answers of the authorising extractor.

use axum::Router;
use roster_commands::authority::Operation;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{Effect, RouteInfo};

const DESCRIPTION: &str = "Roster is an event-sourced customer directory.\n\n\
    A write is answered once reads show it. Every answer says in `Roster-Position` up to where it is complete; a read \
    that is sent the same text as `Roster-Min-Position` shows at least that, on any server.\n\n\
    Errors are `{\"detail\": {\"code\", \"message\"}}`; findings about an input are a list of `{loc, msg, type}`.";

/// The page and the document.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(document: Value) -> Router<S> {
    // Without a validator URL the page would ask one on the internet for its opinion.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs")
        .external_url_unchecked("/openapi.json", document)
        .config(config)
        .into()
}

/// The document of the surfaces with what all routes share.
pub(crate) fn complete(document: OpenApi, routes: &[RouteInfo]) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"] = json!({
        "title": "Roster",
        "version": env!("CARGO_PKG_VERSION"),
        "description": DESCRIPTION,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    for route in routes {
        let bodies = describe(&mut document["paths"][&route.path]["post"], route);
        for body in bodies {
            add_scope(&mut document["components"]["schemas"][body]);
        }
    }
    for (path, summary) in PROBES {
        document["paths"][path]["get"] = probe(summary);
    }
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`rk_<id>_<secret>`), or a JWT (HS256, RS256 or EdDSA) with the claims `sub`, \
                `exp`, `account_id`, `org_id`, `project_id`, `is_admin`, `is_account_owner`, \
                `permissions[{module, actions}]` and `denied[]`.",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    });
    document["components"]["responses"] = responses();
    document["components"]["schemas"]["Error"] = json!({
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "additionalProperties": true,
        }},
    });
    document["components"]["schemas"]["Findings"] = json!({
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "array", "maxItems": 64, "items": {
            "type": "object",
            "required": ["loc", "msg", "type"],
            "properties": {
                "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                "msg": {"type": "string"},
                "type": {"type": "string"},
            },
        }}},
    });
    document
}

const PROBES: [(&str, &str); 4] = [
    ("/healthz", "Whether the process answers"),
    ("/readyz", "Whether requests can be served"),
    ("/version", "The version"),
    ("/metrics", "Metrics in the text format of Prometheus"),
];

fn probe(summary: &str) -> Value {
    json!({"tags": ["operations"], "summary": summary, "security": [], "responses": {"200": {"description": summary}}})
}

/// Adds what every operation has; answers the names of the schemas of its body.
fn describe(operation: &mut Value, route: &RouteInfo) -> Vec<String> {
    let name = route
        .path
        .rsplit("/project-users/")
        .next()
        .unwrap_or_default();
    operation["operationId"] = name.trim_start_matches('/').replace(['/', '-'], "_").into();
    let shared = [
        ("413", "PayloadTooLarge"),
        ("415", "UnsupportedMediaType"),
        ("422", "Unprocessable"),
        ("503", "Unavailable"),
        ("504", "Timeout"),
    ];
    let guarded = [
        ("401", "Unauthenticated"),
        ("403", "Forbidden"),
        ("429", "RateLimited"),
    ];
    let guarded = guarded.into_iter().filter(|_| route.operation.is_some());
    // A route with refusals of its own says so itself.
    let is_placed = matches!(route.effect, Effect::Reads | Effect::SetsByReads)
        && route.operation.is_some()
        && operation["responses"]["409"].is_null();
    let placed = is_placed.then_some(("409", "OtherPosition"));
    for (status, response) in shared.into_iter().chain(guarded).chain(placed) {
        operation["responses"][status] =
            json!({"$ref": format!("#/components/responses/{response}")});
    }
    let Some(permission) = route.operation.map(Operation::permission) else {
        operation["security"] = json!([]);
        return Vec::new();
    };
    operation["security"] = json!([{"bearer": []}, {"apiKey": []}]);
    operation["x-permission"] =
        format!("{}:{}", permission.module, permission.verb.as_str()).into();
    let own = operation["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    operation["parameters"] = own.into_iter().chain(parameters(route.effect)).collect();
    let content = operation["requestBody"]["content"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    content
        .values()
        .filter_map(|content| content["schema"]["$ref"].as_str())
        .filter_map(component)
        .collect()
}

fn component(reference: &str) -> Option<String> {
    reference
        .strip_prefix("#/components/schemas/")
        .map(str::to_owned)
}

fn parameters(effect: Effect) -> Vec<Value> {
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "required": false, "schema": {"type": "string"}, "description": description});
    let mut parameters = vec![
        header("X-Tenant-Org-Id", "Must equal `org_id`, else 403"),
        header("X-Tenant-Project-Id", "Must equal `project_id`, else 403"),
        header(
            "X-Request-Id",
            "Comes back in the answer and stands in every event",
        ),
    ];
    match effect {
        Effect::Reads | Effect::SetsByReads => parameters.push(header(
            "Roster-Min-Position",
            "The `Roster-Position` to be shown at least",
        )),
        Effect::Starts => parameters.push(header(
            "Idempotency-Key",
            "The same request with the same key starts once",
        )),
        Effect::Sets => {}
    }
    parameters
}

/// Adds the three ids that every body carries.
fn add_scope(schema: &mut Value) {
    let ids = ["account_id", "org_id", "project_id"];
    let mut properties = Map::new();
    for id in ids {
        properties.insert(
            id.into(),
            json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}),
        );
    }
    properties.extend(
        schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default(),
    );
    let own = schema["required"].as_array().cloned().unwrap_or_default();
    let required = ids.into_iter().map(Value::from).chain(
        own.into_iter()
            .filter(|name| !ids.iter().any(|id| name == id)),
    );
    schema["required"] = required.collect();
    schema["properties"] = properties.into();
}

fn responses() -> Value {
    let answer = |description: &str, schema: &str| {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        json!({"description": description, "content": {"application/json": {"schema": schema}}})
    };
    let either = json!({"oneOf": [{"$ref": "#/components/schemas/Findings"}, {"$ref": "#/components/schemas/Error"}]});
    json!({
        "Unauthenticated": answer("No credential, or none that is valid", "Error"),
        "Forbidden": answer("`tenant_mismatch` or `permission_denied`", "Error"),
        "PayloadTooLarge": answer("The body is larger than the limit", "Error"),
        "UnsupportedMediaType": answer("The body has another type", "Error"),
        "Unprocessable": {"description": "Findings about the input", "content": {"application/json": {"schema": either}}},
        "OtherPosition": answer("`position_ahead` or `epoch_changed`: the log has not, or no longer, that `Roster-Min-Position`", "Error"),
        "Unavailable": answer("`unavailable`, `projection_behind` or `project_user_indexes_unavailable`: try again soon", "Error"),
        "Timeout": answer("The request took too long; a write may still be done", "Error"),
        "RateLimited": answer("The credential asks too often; `Retry-After` says when to come back", "Error"),
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use serde_json::json;
    use tower::ServiceExt;

    use super::router;

    async fn get(path: &str) -> String {
        let pages: Router = router(json!({"openapi": "3.1.0"}));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = pages.oneshot(request).await.expect("an answer");
        assert!(response.status().is_success(), "{path}");
        let body = to_bytes(response.into_body(), 16 << 20)
            .await
            .expect("a body");
        String::from_utf8_lossy(&body).into_owned()
    }

    #[tokio::test]
    async fn the_document_and_the_page_come_from_here_alone() {
        assert_eq!(get("/openapi.json").await, r#"{"openapi":"3.1.0"}"#);
        let page = get("/docs/").await;
        for attribute in ["src=\"http", "href=\"http", "src=\"//", "href=\"//"] {
            assert!(!page.contains(attribute), "{attribute}");
        }
        let settings = get("/docs/swagger-initializer.js").await;
        assert!(
            settings.contains("/openapi.json") && settings.contains(r#""validatorUrl": "none""#),
            "{settings}"
        );
    }
}
