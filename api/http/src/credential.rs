//! Which credential a request carries. Whether it is genuine is decided in `caller`.

use axum::http::{HeaderMap, HeaderName, header};

use crate::ApiError;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What API keys begin with; a token never does, as a JWT begins with `ey`.
const KEY_PREFIX: &str = "rk_";

/// A credential as it came in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// `rk_<id>_<secret>`, whole.
    ApiKey(&'a str),
    /// A JWT.
    Token(&'a str),
}

impl<'a> Credential<'a> {
    /// `Authorization: Bearer` with a key or a token, or `X-Api-Key` with a key. Two that differ are none.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let bearer = single(headers, &header::AUTHORIZATION)?
            .map(|value| bearer(value).ok_or_else(ApiError::unauthenticated));
        let key = single(headers, &X_API_KEY)?;
        match (bearer.transpose()?, key) {
            (Some(bearer), Some(key)) if bearer != key => Err(ApiError::unauthenticated()),
            (Some(text), _) if text.starts_with(KEY_PREFIX) => Ok(Self::ApiKey(text)),
            (Some(text), _) => Ok(Self::Token(text)),
            (None, Some(key)) if key.starts_with(KEY_PREFIX) => Ok(Self::ApiKey(key)),
            (None, _) => Err(ApiError::unauthenticated()),
        }
    }
}

/// The header's only value; a repeated header is refused, as proxies disagree on which one counts.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|text| Some(text.trim()))
            .map_err(|_| ApiError::unauthenticated()),
        (Some(_), Some(_)) => Err(ApiError::unauthenticated()),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::Credential;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Credential::of(&map)
            .ok()
            .map(|credential| match credential {
                Credential::ApiKey(text) => format!("key {text}"),
                Credential::Token(text) => format!("token {text}"),
            })
    }

    #[test]
    fn keys_come_in_two_headers_and_tokens_in_one() {
        assert_eq!(
            of(&[("authorization", "Bearer rk_1_s")]).as_deref(),
            Some("key rk_1_s")
        );
        assert_eq!(
            of(&[("authorization", "bearer  eyJ.a.b")]).as_deref(),
            Some("token eyJ.a.b")
        );
        assert_eq!(
            of(&[("x-api-key", "rk_1_s")]).as_deref(),
            Some("key rk_1_s")
        );
        assert_eq!(
            of(&[("x-api-key", "rk_1_s"), ("authorization", "Bearer rk_1_s")]).as_deref(),
            Some("key rk_1_s")
        );
    }

    #[test]
    fn anything_else_is_no_credential() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("authorization", "Basic dTpw")]), None);
        assert_eq!(of(&[("authorization", "Bearer ")]), None);
        assert_eq!(of(&[("authorization", "rk_1_s")]), None);
        assert_eq!(of(&[("x-api-key", "eyJ.a.b")]), None);
        assert_eq!(
            of(&[("x-api-key", "rk_1_s"), ("authorization", "Bearer rk_2_s")]),
            None
        );
        assert_eq!(
            of(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
            None
        );
    }
}
