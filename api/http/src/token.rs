//! JWT credentials: HS256 with a shared secret, or RS256 and `EdDSA` with the public keys of a JWK set.
//!
//! The algorithm belongs to the key, never to the token: a public key can't be used as a shared secret (RFC 8725 §3.1).
//! `exp` is required and judged by the injected clock.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use roster_domain::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Seconds that clocks may differ.
const LEEWAY: f64 = 30.0;

/// A shorter HS256 secret can be guessed offline (RFC 7518 §3.2: at least the size of the hash).
const MIN_SECRET: usize = 32;

/// Where the keys of tokens come from.
#[derive(Clone, Debug)]
pub enum JwkSource {
    /// A shared secret for HS256, at least 32 bytes.
    Secret(SecretString),
    /// A file with a JWK set; read again by [`Tokens::reload`].
    JwksFile(PathBuf),
    /// A JWK set that the server fetches and hands in through [`Tokens::replace`]; until then every token is refused.
    JwksUrl,
}

/// What a token must say beside the claims of Roster.
#[derive(Clone, Debug, Default)]
pub struct TokenRules {
    /// The expected `iss`; any where absent.
    pub issuer: Option<String>,
    /// The expected `aud`. Where absent, a token that names an audience is refused, as it is meant for somebody else.
    pub audience: Option<String>,
}

/// Why token keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The shared secret is too short.
    #[error("the JWT secret needs at least {MIN_SECRET} bytes")]
    ShortSecret,
    /// The file can't be read.
    #[error("the JWK set cannot be read")]
    File(#[from] std::io::Error),
    /// The text is no JWK set.
    #[error("the JWK set is not valid JSON of RFC 7517")]
    Set(#[from] serde_json::Error),
    /// The set has no RSA or Ed25519 key for signatures.
    #[error("the JWK set has no usable RS256 or EdDSA key")]
    NoKey,
}

/// Verifies tokens. Clones share the keys.
#[derive(Clone, Debug)]
pub struct Tokens {
    source: JwkSource,
    rules: TokenRules,
    keys: Arc<RwLock<Arc<Vec<Key>>>>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl Tokens {
    /// Reads the keys of the source.
    pub fn new(source: JwkSource, rules: TokenRules) -> Result<Self, TokenKeyError> {
        let keys = match &source {
            JwkSource::Secret(secret) => {
                let secret = secret.expose_secret().as_bytes();
                if secret.len() < MIN_SECRET {
                    return Err(TokenKeyError::ShortSecret);
                }
                vec![Key {
                    id: None,
                    algorithm: Algorithm::HS256,
                    decoding: DecodingKey::from_secret(secret),
                }]
            }
            JwkSource::JwksFile(path) => keys_of(&fs::read_to_string(path)?)?,
            JwkSource::JwksUrl => Vec::new(),
        };
        Ok(Self {
            source,
            rules,
            keys: Arc::new(RwLock::new(Arc::new(keys))),
        })
    }

    /// Reads the file again, if the keys come from one. The old keys stay where the new ones can't be used.
    pub fn reload(&self) -> Result<(), TokenKeyError> {
        match &self.source {
            JwkSource::JwksFile(path) => self.replace(&fs::read_to_string(path)?),
            JwkSource::Secret(_) | JwkSource::JwksUrl => Ok(()),
        }
    }

    /// Takes the keys of a JWK set. The old keys stay where it can't be used, and a shared secret always stays.
    pub fn replace(&self, set: &str) -> Result<(), TokenKeyError> {
        if !matches!(self.source, JwkSource::Secret(_)) {
            let keys = Arc::new(keys_of(set)?);
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        Ok(())
    }

    /// The claims of a genuine token within its time. Why another one is refused is nobody's business.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Value> {
        let header = decode_header(token).ok()?;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let claims = keys
            .iter()
            .filter(|key| key.algorithm == header.alg)
            .filter(|key| key.id.is_none() || header.kid.is_none() || key.id == header.kid)
            .find_map(|key| {
                decode::<Value>(token, &key.decoding, &self.validation(key.algorithm)).ok()
            })?
            .claims;
        in_time(&claims, now).then_some(claims)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "sub"]);
        // The library asks the clock of the machine; `in_time` asks ours.
        validation.validate_exp = false;
        if let Some(issuer) = &self.rules.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        if let Some(audience) = &self.rules.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        }
        validation
    }
}

fn keys_of(set: &str) -> Result<Vec<Key>, TokenKeyError> {
    let set: JwkSet = serde_json::from_str(set)?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(|jwk| {
            let algorithm = match &jwk.algorithm {
                AlgorithmParameters::RSA(_) => Algorithm::RS256,
                AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                    Algorithm::EdDSA
                }
                _ => return None,
            };
            let decoding = DecodingKey::from_jwk(jwk).ok()?;
            Some(Key {
                id: jwk.common.key_id.clone(),
                algorithm,
                decoding,
            })
        })
        .collect();
    if keys.is_empty() {
        Err(TokenKeyError::NoKey)
    } else {
        Ok(keys)
    }
}

fn in_time(claims: &Value, now: Timestamp) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds fit 53 bits until the year 2255"
    )]
    let now = now.0 as f64 / 1e6;
    let ends = claims
        .get("exp")
        .and_then(Value::as_f64)
        .is_some_and(|exp| exp + LEEWAY > now);
    let begun = match claims.get("nbf") {
        None | Some(Value::Null) => true,
        Some(nbf) => nbf.as_f64().is_some_and(|nbf| nbf - LEEWAY <= now),
    };
    ends && begun
}

#[cfg(test)]
mod tests {
    use std::slice;

    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use roster_domain::Timestamp;
    use secrecy::SecretString;
    use serde_json::{Value, json};

    use super::{JwkSource, TokenRules, Tokens};

    const SECRET: &str = "a secret of at least thirty-two bytes";
    const NOW: Timestamp = Timestamp(1_767_225_600_000_000);
    const NOW_SECONDS: i64 = 1_767_225_600;
    // RFC 8037, appendix A.
    const ED25519: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn tokens() -> Tokens {
        Tokens::new(
            JwkSource::Secret(SecretString::from(SECRET)),
            TokenRules::default(),
        )
        .expect("a good secret")
    }

    fn signed(claims: &Value, secret: &[u8], algorithm: Algorithm) -> String {
        encode(
            &Header::new(algorithm),
            claims,
            &EncodingKey::from_secret(secret),
        )
        .expect("a token")
    }

    fn hs256(claims: &Value) -> String {
        signed(claims, SECRET.as_bytes(), Algorithm::HS256)
    }

    #[test]
    fn a_genuine_token_in_time_is_taken() {
        let token = hs256(&json!({"sub": "ada", "exp": NOW_SECONDS + 60}));
        assert_eq!(
            tokens()
                .verify(&token, NOW)
                .map(|claims| claims["sub"].clone()),
            Some("ada".into())
        );
    }

    #[test]
    fn time_and_subject_are_required() {
        for claims in [
            json!({"sub": "ada"}),
            json!({"exp": NOW_SECONDS + 60}),
            json!({"sub": "ada", "exp": NOW_SECONDS - 60}),
            json!({"sub": "ada", "exp": "soon"}),
            json!({"sub": "ada", "exp": NOW_SECONDS + 60, "nbf": NOW_SECONDS + 50}),
            json!({"sub": "ada", "exp": NOW_SECONDS + 60, "aud": "somebody-else"}),
        ] {
            assert_eq!(tokens().verify(&hs256(&claims), NOW), None, "{claims}");
        }
    }

    #[test]
    fn a_few_seconds_late_is_in_time() {
        let token = hs256(&json!({"sub": "ada", "exp": NOW_SECONDS - 10}));
        assert!(tokens().verify(&token, NOW).is_some());
    }

    #[test]
    fn other_algorithms_and_secrets_are_refused() {
        let claims = json!({"sub": "ada", "exp": NOW_SECONDS + 60});
        let other = signed(
            &claims,
            b"another secret of thirty-two bytes!!",
            Algorithm::HS256,
        );
        assert_eq!(tokens().verify(&other, NOW), None);
        assert_eq!(
            tokens().verify(&signed(&claims, SECRET.as_bytes(), Algorithm::HS512), NOW),
            None
        );
        // {"alg":"none"} with the same claims and no signature.
        let unsigned = format!(
            "eyJhbGciOiJub25lIn0.{}.",
            hs256(&claims).split('.').nth(1).unwrap_or_default()
        );
        assert_eq!(tokens().verify(&unsigned, NOW), None);
    }

    #[test]
    fn a_public_key_is_never_a_shared_secret() {
        let tokens = Tokens::new(JwkSource::JwksUrl, TokenRules::default()).expect("no keys yet");
        tokens.replace(ED25519).expect("a usable set");
        let claims = json!({"sub": "ada", "exp": NOW_SECONDS + 60});
        for secret in [
            ED25519.as_bytes(),
            b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        ] {
            assert_eq!(
                tokens.verify(&signed(&claims, secret, Algorithm::HS256), NOW),
                None
            );
        }
        for garbage in slice::from_ref(&"a.b.c").iter().chain(&["", "..", "a.b"]) {
            assert_eq!(tokens.verify(garbage, NOW), None);
        }
    }

    #[test]
    fn weak_keys_and_useless_sets_are_refused() {
        assert!(
            Tokens::new(
                JwkSource::Secret(SecretString::from("short")),
                TokenRules::default()
            )
            .is_err()
        );
        let tokens = Tokens::new(JwkSource::JwksUrl, TokenRules::default()).expect("no keys yet");
        assert!(
            tokens
                .replace(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#)
                .is_err()
        );
        assert!(tokens.replace("no JSON").is_err());
    }
}
