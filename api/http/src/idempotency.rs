//! What makes two requests the same one: tenant, principal, route, body and the caller's `Idempotency-Key`.

use axum::http::HeaderMap;
use roster_commands::IdempotencyKey;
use roster_domain::{Problem, Scope};
use sha2::{Digest, Sha256};

use crate::ApiError;

/// Longer keys are refused.
const MAX_KEY: usize = 255;

/// The key of a job-starting request. SDKs can send one key on every request, so it never counts alone.
pub(crate) fn key(
    headers: &HeaderMap,
    scope: &Scope,
    principal: &[u8],
    route: &str,
    body: &[u8],
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let value = value.as_bytes();
    if value.is_empty() || value.len() > MAX_KEY {
        let problem = Problem::new(
            ["header", "Idempotency-Key"],
            "length",
            "expected 1 to 255 characters",
        );
        return Err(ApiError::Invalid(vec![problem]));
    }
    let body = Sha256::digest(body);
    let parts: [&[u8]; 7] = [
        scope.account_id.as_bytes(),
        scope.org_id.as_bytes(),
        scope.project_id.as_bytes(),
        principal,
        route.as_bytes(),
        &body,
        value,
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Ok(Some(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use roster_domain::Scope;

    use super::key;

    #[test]
    fn every_part_makes_another_request() {
        let headers = |text| {
            HeaderMap::from_iter([(
                "idempotency-key".parse().expect("a name"),
                HeaderValue::from_static(text),
            )])
        };
        let scope = |project| Scope::parse("a", "o", project).expect("a scope");
        let of = |text, project, principal: &[u8], route, body: &[u8]| {
            key(&headers(text), &scope(project), principal, route, body)
                .ok()
                .flatten()
        };
        let first = of("k", "p", b"key:1", "r", b"{}");
        assert!(first.is_some());
        assert_eq!(first, of("k", "p", b"key:1", "r", b"{}"));
        for other in [
            of("l", "p", b"key:1", "r", b"{}"),
            of("k", "q", b"key:1", "r", b"{}"),
            of("k", "p", b"key:2", "r", b"{}"),
            of("k", "p", b"key:1", "s", b"{}"),
            of("k", "p", b"key:1", "r", b"{ }"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn without_a_header_there_is_no_key() {
        let scope = Scope::parse("a", "o", "p").expect("a scope");
        assert!(key(&HeaderMap::new(), &scope, b"", "", b"").is_ok_and(|key| key.is_none()));
    }
}
