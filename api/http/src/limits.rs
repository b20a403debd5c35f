//! What one caller may ask: sizes, times and rates.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::{ApiError, Code};

/// Limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a JSON body; 8 MiB.
    pub body_bytes: usize,
    /// How long an answer may take to begin; 30 s. Streamed bodies are exempt.
    pub request_timeout: Duration,
    /// Requests under way at once; 4,096. Health and metrics are exempt.
    pub concurrent_requests: usize,
    /// Requests of one credential; no limit where absent.
    pub rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            request_timeout: Duration::from_secs(30),
            concurrent_requests: 4096,
            rate: None,
        }
    }
}

/// A rate.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Requests a second in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

type Limiter = RateLimiter<
    u64,
    DefaultKeyedStateStore<u64>,
    DefaultClock,
    governor::middleware::StateInformationMiddleware,
>;

/// Counts the requests of every credential of this node. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Rates(Arc<Shared>);

struct Shared {
    limiter: Limiter,
    clock: DefaultClock,
    rate: Rate,
    hasher: RandomState,
    checks: AtomicU32,
}

/// Credentials that have been idle are forgotten after so many checks.
const CHECKS_BETWEEN_SWEEPS: u32 = 1 << 16;

/// How much of a rate is left, for the headers of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    rate: (u32, u32),
    remaining: u32,
}

impl Rates {
    pub(crate) fn new(rate: Rate) -> Self {
        let clock = DefaultClock::default();
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = RateLimiter::dashmap_with_clock(quota, clock.clone())
            .with_middleware::<StateInformationMiddleware>();
        Self(Arc::new(Shared {
            limiter,
            clock,
            rate,
            hasher: RandomState::new(),
            checks: AtomicU32::new(0),
        }))
    }

    /// Counts one request of a credential.
    pub(crate) fn check(&self, credential: &[u8]) -> Result<Allowance, ApiError> {
        let shared = &self.0;
        if shared.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_SWEEPS
            == CHECKS_BETWEEN_SWEEPS - 1
        {
            shared.limiter.retain_recent();
        }
        let rate = (shared.rate.per_second.get(), shared.rate.burst.get());
        match shared
            .limiter
            .check_key(&shared.hasher.hash_one(credential))
        {
            Ok(state) => Ok(Allowance {
                rate,
                remaining: state.remaining_burst_capacity(),
            }),
            Err(until) => {
                let wait = until.wait_time_from(shared.clock.now());
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Err(
                    ApiError::new(Code::RateLimited, "the credential asks too often")
                        .retry_after(seconds.max(1)),
                )
            }
        }
    }

    /// What is left for a credential that was just refused.
    pub(crate) fn exhausted(&self) -> Allowance {
        Allowance {
            rate: (self.0.rate.per_second.get(), self.0.rate.burst.get()),
            remaining: 0,
        }
    }
}

impl Allowance {
    /// Adds `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let (per_second, burst) = self.rate;
        let policy = format!("\"default\";q={burst};w={}", burst.div_ceil(per_second));
        let left = format!(
            "\"default\";r={};t={}",
            self.remaining,
            (burst - self.remaining).div_ceil(per_second)
        );
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", left)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use axum::http::HeaderMap;

    use super::{Allowance, Rate, Rates};

    #[test]
    fn each_credential_has_its_own_rate() {
        let one = NonZeroU32::MIN;
        let rates = Rates::new(Rate {
            per_second: one,
            burst: one,
        });
        assert!(rates.check(b"a").is_ok());
        let refused = rates.check(b"a").expect_err("the burst is used up");
        assert_eq!(refused.code(), "rate_limited");
        assert!(rates.check(b"b").is_ok());
    }

    #[test]
    fn the_headers_say_what_is_left() {
        let mut headers = HeaderMap::new();
        Allowance {
            rate: (10, 25),
            remaining: 4,
        }
        .write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"default\";q=25;w=3");
        assert_eq!(headers["ratelimit"], "\"default\";r=4;t=3");
    }
}
