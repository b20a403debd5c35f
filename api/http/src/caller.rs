//! From a credential to an actor, and from an actor to the context of one request.

use axum::http::request::Parts;
use roster_commands::authority::{Grants, Operation};
use roster_commands::{Actor, Context, keys};
use roster_domain::meta::Principal;
use roster_domain::{Personal, Scope};
use serde_json::Value;

use crate::credential::Credential;
use crate::exchange::Exchange;
use crate::{ApiError, App, trace};

/// Who sends a request, as a genuine credential says.
pub struct Caller {
    actor: Actor,
    identity: Vec<u8>,
}

impl Caller {
    /// The caller of a request, counted against its rate: 401 or 429.
    pub async fn of(app: &App, parts: &Parts) -> Result<Self, ApiError> {
        let caller = match Credential::of(&parts.headers)? {
            Credential::ApiKey(key) => Self::of_key(app, key).await?,
            Credential::Token(token) => Self::of_token(app, token)?,
        };
        if let Some(rates) = app.rates() {
            let allowance = rates.check(&caller.identity);
            if let Some(exchange) = Exchange::of(parts) {
                exchange.allow(*allowance.as_ref().unwrap_or(&rates.exhausted()));
            }
            allowance?;
        }
        Ok(caller)
    }

    async fn of_key(app: &App, key: &str) -> Result<Self, ApiError> {
        let record = app
            .keys()
            .verify(key)
            .await?
            .ok_or_else(ApiError::unauthenticated)?;
        let identity = [b"key:".as_slice(), record.key_id.as_bytes()].concat();
        Ok(Self {
            actor: keys::actor(&record),
            identity,
        })
    }

    fn of_token(app: &App, token: &str) -> Result<Self, ApiError> {
        let claims = app
            .tokens()
            .and_then(|tokens| tokens.verify(token, app.clock().now()));
        let claims = claims.ok_or_else(ApiError::unauthenticated)?;
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .filter(|subject| !subject.is_empty());
        let subject = subject.ok_or_else(ApiError::unauthenticated)?;
        let grants = Grants::of_claims(&claims).ok_or_else(ApiError::unauthenticated)?;
        let account = claims
            .get("account_id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let identity = [
            b"token:".as_slice(),
            account.as_bytes(),
            b":",
            subject.as_bytes(),
        ]
        .concat();
        let subject = Personal::Known(subject.to_owned());
        Ok(Self {
            actor: Actor {
                principal: Principal::Token,
                subject,
                grants,
            },
            identity,
        })
    }

    /// What tells this caller from others: for rates and idempotency, never for the log.
    pub(crate) fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// The context of the request in a tenant: 403 unless the caller may do this there.
    pub(crate) fn enter(
        &self,
        parts: &Parts,
        scope: Scope,
        operation: Operation,
    ) -> Result<Context, ApiError> {
        for (name, id) in [
            ("x-tenant-org-id", &scope.org_id),
            ("x-tenant-project-id", &scope.project_id),
        ] {
            if parts
                .headers
                .get_all(name)
                .iter()
                .any(|value| value.as_bytes() != id.as_bytes())
            {
                return Err(ApiError::tenant_mismatch());
            }
        }
        let request_id = Exchange::of(parts)
            .and_then(|exchange| exchange.id().to_str().ok())
            .unwrap_or_default();
        let context = Context {
            scope,
            actor: self.actor.clone(),
            request_id: request_id.to_owned(),
            traceparent: trace::passed_on(&parts.headers),
            idempotency: None,
        };
        context.authorise(operation)?;
        Ok(context)
    }
}
