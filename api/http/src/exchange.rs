//! What is known about one request while it is served; shared by the middleware and the extractors.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderValue;
use axum::http::request::Parts;

use crate::limits::Allowance;

/// One request. Lives in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Exchange(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: HeaderValue,
    allowance: OnceLock<Allowance>,
}

impl Exchange {
    pub(crate) fn new(id: HeaderValue) -> Self {
        Self(Arc::new(Shared {
            id,
            allowance: OnceLock::new(),
        }))
    }

    /// The one of a request that came through the middleware.
    pub(crate) fn of(parts: &Parts) -> Option<&Self> {
        parts.extensions.get()
    }

    pub(crate) fn id(&self) -> &HeaderValue {
        &self.0.id
    }

    /// Remembers what is left of the caller's rate.
    pub(crate) fn allow(&self, allowance: Allowance) {
        // Only one credential is checked in a request, so there is nothing to replace.
        let _ = self.0.allowance.set(allowance);
    }

    pub(crate) fn allowance(&self) -> Option<Allowance> {
        self.0.allowance.get().copied()
    }
}
