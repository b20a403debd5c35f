//! `POST /auth/key/validate/api`: whether an API key is valid, and for whom. Needs no other credential than the key.

use axum::extract::State;
use axum::response::Response;
use roster_http::{ApiError, App, Open, respond};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The whole path.
pub(crate) const PATH: &str = "/auth/key/validate/api";

/// The key in question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ValidateKeyRequest)]
pub(crate) struct Request {
    /// `rk_<id>_<secret>`.
    api_key: String,
}

/// What is known of a key. A key that is not valid says nothing about any tenant.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ValidateKeyResponse)]
pub(crate) struct Answer {
    /// Whether requests with it are served.
    valid: bool,
    /// The account that it acts for.
    account_id: Option<String>,
    /// The only organization, or null for every one of the account.
    org_id: Option<String>,
    /// The only project, or null for every one of the organization.
    project_id: Option<String>,
    /// Permissions, such as `project_users:view`.
    scopes: Vec<String>,
    /// Why it is not valid.
    error: Option<&'static str>,
}

/// Validate an API key
#[utoipa::path(
    post,
    path = "/auth/key/validate/api",
    tag = "auth",
    request_body = Request,
    responses((status = 200, description = "What is known of the key", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    Open(request): Open<Request>,
) -> Result<Response, ApiError> {
    let answer = match app.keys().verify(request.api_key.trim()).await? {
        Some(key) => Answer {
            valid: true,
            account_id: Some(key.account_id.clone()),
            org_id: key.org_id.clone(),
            project_id: key.project_id.clone(),
            scopes: key.scopes.clone(),
            error: None,
        },
        None => Answer {
            error: Some("invalid_api_key"),
            ..Answer::default()
        },
    };
    Ok(respond::ok(&answer))
}
