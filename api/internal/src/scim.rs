//! Switches of the SCIM server, which is not part of this server yet: they authenticate, authorise and say so.

use axum::response::Response;
use roster_http::{ApiError, Code};

pub(crate) mod disable;
pub(crate) mod enable;
pub(crate) mod status;

/// The answer of all three.
fn not_available() -> Result<Response, ApiError> {
    Err(ApiError::new(
        Code::NotAvailable,
        "SCIM provisioning is not part of this server",
    ))
}
