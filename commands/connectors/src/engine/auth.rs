//! How a request shows who asks: a key as it is, or a token that is got with one.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use roster_commands::sync::source::SourceError;
use roster_domain::{Problem, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::answer::word;
use super::fault::{self, Fault};
use crate::outbound::{Ask, Outbound};

/// A token is renewed so many seconds before its end.
const MARGIN: i64 = 60;
/// Who a Google service account's assertion is for.
const GOOGLE: &str = "https://oauth2.googleapis.com/token";

/// What authenticates.
pub(crate) enum Auth {
    /// Nothing.
    Nobody,
    /// `Authorization: Bearer`.
    Bearer(SecretString),
    /// A key in a header.
    Header(HeaderName, SecretString),
    /// A key in the query.
    Query(String, SecretString),
    /// `Authorization: Basic`.
    Basic(String, SecretString),
    /// A token that is got first.
    Grant(Box<Grant>),
}

/// How a token is got.
pub(crate) struct Grant {
    url: Url,
    proof: Proof,
}

enum Proof {
    Client {
        id: String,
        secret: SecretString,
        scope: String,
    },
    ServiceAccount {
        key: EncodingKey,
        email: String,
        subject: String,
        scope: &'static str,
    },
}

/// A token.
pub(super) struct Token {
    pub(super) value: SecretString,
    until: Timestamp,
}

impl Token {
    /// Whether it ends about now.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now.plus_seconds(MARGIN) >= self.until
    }
}

impl Auth {
    /// Client credentials of OAuth 2.
    pub(crate) fn client(url: Url, id: &str, secret: &str, scope: &str) -> Self {
        let proof = Proof::Client {
            id: id.into(),
            secret: secret.into(),
            scope: scope.into(),
        };
        Self::Grant(Box::new(Grant { url, proof }))
    }

    /// A Google service account by its key file, acting for itself or for a person.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn service_account(
        file: &str,
        part: &str,
        subject: &str,
        scope: &'static str,
        base: Option<&Url>,
    ) -> Result<Self, Vec<Problem>> {
        let wrong = |message: &str| {
            vec![Problem::new(
                ["credentials", part],
                "invalid_format",
                message,
            )]
        };
        let file: Value = serde_json::from_str(file)
            .map_err(|_| wrong("must be the JSON text of the key file"))?;
        let email = word(&file, "client_email").ok_or_else(|| wrong("has no client_email"))?;
        let pem = word(&file, "private_key").ok_or_else(|| wrong("has no private_key"))?;
        let key = EncodingKey::from_rsa_pem(pem.as_bytes())
            .map_err(|_| wrong("its private_key is no RSA key"))?;
        let url = match base {
            Some(base) => base.join("/token"),
            None => Url::parse(GOOGLE),
        };
        let proof = Proof::ServiceAccount {
            key,
            email,
            subject: subject.into(),
            scope,
        };
        let url = url.map_err(|error| wrong(&error.to_string()))?;
        Ok(Self::Grant(Box::new(Grant { url, proof })))
    }

    /// Puts itself on a request.
    pub(super) fn sign(&self, ask: &mut Ask, token: Option<&Token>) -> Result<(), SourceError> {
        let (name, value) = match self {
            Self::Nobody => return Ok(()),
            Self::Query(name, secret) => {
                ask.url
                    .query_pairs_mut()
                    .append_pair(name, secret.expose_secret());
                return Ok(());
            }
            Self::Bearer(secret) => (AUTHORIZATION, format!("Bearer {}", secret.expose_secret())),
            Self::Header(name, secret) => (name.clone(), secret.expose_secret().to_owned()),
            Self::Basic(user, secret) => {
                use base64::Engine;
                let pair = format!("{user}:{}", secret.expose_secret());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                (AUTHORIZATION, format!("Basic {pair}"))
            }
            Self::Grant(_) => {
                let token = token.map_or("", |token| token.value.expose_secret());
                (AUTHORIZATION, format!("Bearer {token}"))
            }
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            SourceError::Unauthorized("the credential holds characters that cannot be sent".into())
        })?;
        value.set_sensitive(true);
        ask.secrets.insert(name, value);
        Ok(())
    }
}

impl Grant {
    /// A new token.
    ///
    /// # Errors
    /// [`SourceError::Unauthorized`] where the vendor gives none.
    pub(super) async fn token(&self, outbound: &Outbound) -> Result<Token, SourceError> {
        let now = outbound.now();
        let ask = Ask::post(
            self.url.clone(),
            "application/x-www-form-urlencoded",
            self.form(now)?,
        );
        let reply = outbound.send(ask).await?;
        if !reply.status.is_success() {
            let fault = Fault::of(&reply);
            return Err(match fault.status {
                400 | 401 | 403 => SourceError::Unauthorized(fault.message),
                _ => fault.meaning(),
            });
        }
        let json = fault::json(&reply)?;
        let value = word(&json, "access_token")
            .ok_or_else(|| SourceError::Answer("the token's answer has no access_token".into()))?;
        let lifetime = word(&json, "expires_in").and_then(|text| text.parse().ok());
        Ok(Token {
            value: value.into(),
            // Salesforce does not say; a token that ends earlier is renewed when it is refused.
            until: now.plus_seconds(lifetime.unwrap_or(3_600)),
        })
    }

    /// The body of the request.
    fn form(&self, now: Timestamp) -> Result<String, SourceError> {
        match &self.proof {
            Proof::Client { id, secret, scope } => {
                let mut pairs = vec![
                    ("grant_type", "client_credentials"),
                    ("client_id", id),
                    ("client_secret", secret.expose_secret()),
                ];
                if !scope.is_empty() {
                    pairs.push(("scope", scope));
                }
                form(&pairs)
            }
            Proof::ServiceAccount {
                key,
                email,
                subject,
                scope,
            } => {
                let issued = now.0 / 1_000_000;
                let mut claims = json!({
                    "iss": email, "scope": scope, "aud": GOOGLE, "iat": issued, "exp": issued + 3_600,
                });
                if !subject.is_empty() {
                    claims["sub"] = subject.as_str().into();
                }
                let assertion = encode(&Header::new(Algorithm::RS256), &claims, key)
                    .map_err(|_| SourceError::Unauthorized("the private key cannot sign".into()))?;
                form(&[
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", &assertion),
                ])
            }
        }
    }
}

/// Pairs as a form.
fn form(pairs: &[(&str, &str)]) -> Result<String, SourceError> {
    let url = Url::parse_with_params("form:", pairs)
        .map_err(|error| SourceError::Config(error.to_string()))?;
    Ok(url.query().unwrap_or_default().to_owned())
}
