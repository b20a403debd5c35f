//! Who asks, for which tenant, in which request.

use roster_domain::meta::{Meta, Principal};
use roster_domain::{Personal, Scope};

use crate::authority::{self, Denied, Grants, Operation};

/// Hash of tenant, principal, route, body and the caller's `Idempotency-Key`.
pub type IdempotencyKey = [u8; 32];

/// The caller, as a verified credential describes it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// What kind of credential acts.
    pub principal: Principal,
    /// The subject of a token: it may be an e-mail address.
    pub subject: Personal<String>,
    /// What the credential allows, and where.
    pub grants: Grants,
}

impl Actor {
    /// Roster itself: a job or a command line.
    pub fn system() -> Self {
        Self {
            principal: Principal::System,
            subject: Personal::Erased,
            grants: Grants::everything(),
        }
    }
}

/// One request: every use case takes it first.
#[derive(Clone, Debug)]
pub struct Context {
    /// The tenant that the request names.
    pub scope: Scope,
    /// The caller.
    pub actor: Actor,
    /// The `X-Request-Id`.
    pub request_id: String,
    /// The W3C trace context, if the request had one.
    pub traceparent: Option<String>,
    /// Set where the route starts a job and the caller sent a key.
    pub idempotency: Option<IdempotencyKey>,
}

impl Context {
    /// The context of a job of Roster itself.
    pub fn system(scope: Scope, request_id: impl Into<String>) -> Self {
        Self {
            scope,
            actor: Actor::system(),
            request_id: request_id.into(),
            traceparent: None,
            idempotency: None,
        }
    }

    /// The cause that is stored with every event of this request.
    pub fn meta(&self) -> Meta {
        Meta {
            principal: self.actor.principal.clone(),
            subject: self.actor.subject.clone(),
            request_id: self.request_id.clone(),
            traceparent: self.traceparent.clone(),
        }
    }

    /// Refuses the request unless the actor may do this in its tenant.
    pub fn authorise(&self, operation: Operation) -> Result<(), Denied> {
        authority::authorise(&self.actor, &self.scope, operation)
    }
}
