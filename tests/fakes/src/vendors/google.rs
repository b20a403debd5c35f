//! What Google's interfaces share: the token of a service account, and their errors.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use crate::exchange::{Ask, Reply};
use crate::world::World;

pub(super) const ADMIN: &str = "admin@example.org";
const EMAIL: &str = "reader@acme.iam.gserviceaccount.com";
// A key for tests, that opens nothing.
const PRIVATE: &str = include_str!("../../keys/service_account.pem");
const PUBLIC: &str = include_str!("../../keys/service_account.pub.pem");

/// The file that an admin downloads for a service account.
pub(super) fn key_file() -> String {
    let file = json!({
        "type": "service_account", "project_id": "acme", "private_key_id": "1", "private_key": PRIVATE,
        "client_email": EMAIL, "token_uri": "https://oauth2.googleapis.com/token",
    });
    file.to_string()
}

/// A token against an assertion that Google would take.
pub(super) fn token(world: &mut World, ask: &Ask, scope: &str, subject: Option<&str>) -> Reply {
    let refused = |message: &str| {
        let body = json!({"error": "invalid_grant", "error_description": message});
        Reply::status(400, &body)
    };
    if ask.body["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return refused("unsupported grant_type");
    }
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["https://oauth2.googleapis.com/token"]);
    validation.set_issuer(&[EMAIL]);
    let Ok(key) = DecodingKey::from_rsa_pem(PUBLIC.as_bytes()) else {
        return refused("the fake has no key");
    };
    let assertion = ask.body["assertion"].as_str().unwrap_or_default();
    let claims = match decode::<Value>(assertion, &key, &validation) {
        Ok(token) => token.claims,
        Err(error) => return refused(&format!("Invalid JWT Signature: {error}")),
    };
    let lifetime =
        claims["exp"].as_i64().unwrap_or_default() - claims["iat"].as_i64().unwrap_or_default();
    if claims["scope"] != scope
        || claims["sub"].as_str() != subject
        || !(1..=3_600).contains(&lifetime)
    {
        return refused("Invalid JWT: scope, subject or lifetime");
    }
    Reply::token(&world.issue())
}

pub(super) fn refusal(code: u16, status: &str, message: &str) -> Reply {
    Reply::status(
        code,
        &json!({"error": {"code": code, "message": message, "status": status}}),
    )
}

pub(super) fn limit(span: &str) -> Reply {
    let message = format!(
        "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per {span} per user'."
    );
    refusal(429, "RESOURCE_EXHAUSTED", &message)
}
