//! Any headers and any credential: read or refused, and never taken for somebody's.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use roster_domain::{Scope, Timestamp};
use secrecy::SecretString;
use serde_json::json;

use crate::credential::Credential;
use crate::idempotency;
use crate::token::{JwkSource, TokenRules, Tokens};

const SECRET: &str = "a test secret of at least thirty-two bytes";
/// A second of 2026, for which the token below is good.
const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn any_header() -> impl Strategy<Value = HeaderValue> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..60),
        "[0-9:+ -]{0,40}".prop_map(String::into_bytes),
        "(Bearer |bearer|rk_)?[A-Za-z0-9_. =-]{0,60}".prop_map(String::into_bytes),
    ];
    bytes.prop_filter_map("a header takes it", |bytes| {
        HeaderValue::from_bytes(&bytes).ok()
    })
}

fn of(name: &HeaderName, values: &[HeaderValue]) -> HeaderMap {
    values
        .iter()
        .map(|value| (name.clone(), value.clone()))
        .collect()
}

fn tokens() -> Tokens {
    let rules = TokenRules {
        issuer: None,
        audience: None,
    };
    Tokens::new(JwkSource::Secret(SecretString::from(SECRET)), rules).expect("a long secret")
}

proptest! {
    #[test]
    fn any_credential_is_read_or_refused(
        bearer in vec(any_header(), 0..3),
        key in vec(any_header(), 0..3),
        idempotency in any_header(),
        body in vec(any::<u8>(), 0..40),
    ) {
        let mut headers = of(&header::AUTHORIZATION, &bearer);
        for value in key {
            headers.append("x-api-key", value);
        }
        headers.insert("idempotency-key", idempotency);
        if let Ok(Credential::ApiKey(text)) = Credential::of(&headers) {
            prop_assert!(text.starts_with("rk_"));
        }
        let scope = Scope::parse("a", "o", "p").expect("a scope");
        let _ = idempotency::key(&headers, &scope, b"key:1", "route", &body);
    }

    #[test]
    fn no_text_is_a_token_but_the_one_that_was_signed(
        text in prop_oneof!["[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,3}", "\\PC{0,60}"],
        at in any::<prop::sample::Index>(),
        byte in "[A-Za-z0-9_.-]",
    ) {
        prop_assert!(tokens().verify(&text, NOW).is_none());
        let claims = json!({"sub": "ada", "exp": 1_900_000_000, "account_id": "a"});
        let good = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()));
        let good = good.expect("it can be signed");
        prop_assert!(tokens().verify(&good, NOW).is_some());
        let mut changed = good.clone();
        let place = at.index(good.len());
        changed.replace_range(place..=place, &byte);
        // The last character of a part has bits that say nothing.
        let is_last = matches!(good.as_bytes().get(place + 1), None | Some(b'.'));
        if changed != good && !is_last {
            prop_assert!(tokens().verify(&changed, NOW).is_none(), "{}", changed);
        }
    }
}
