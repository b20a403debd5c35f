//! What every handler has at hand. Built once by the server; clones share everything.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use roster_commands::clock::Clock;
use roster_commands::keys::Keys;
use roster_commands::{CommandError, Directory};
use roster_projections::Projections;
use roster_projections::identity::IdentityCache;
use tokio::sync::{Semaphore, watch};

use crate::limits::Rates;
use crate::middleware::RequestIds;
use crate::schemas::Schemas;
use crate::{ApiError, Limits, Tokens};

/// How the message bus does, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// No bus is configured.
    Off,
    /// Events reach the bus.
    Ok,
    /// Events wait in the log until the bus is back; commands go on.
    Degraded,
}

/// What the server hands over.
pub struct AppParts {
    /// The use cases.
    pub directory: Directory,
    /// The read side.
    pub projections: Projections,
    /// The look-up of identities.
    pub identities: IdentityCache,
    /// API keys.
    pub keys: Keys,
    /// Token keys; without them only API keys are taken.
    pub tokens: Option<Tokens>,
    /// Limits.
    pub limits: Limits,
    /// What `/metrics` renders; without it the route answers 404.
    pub metrics: Option<PrometheusHandle>,
    /// How the bus does.
    pub bus: watch::Receiver<Bus>,
}

/// The state of the router.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    parts: AppParts,
    rates: Option<Rates>,
    places: Semaphore,
    request_ids: RequestIds,
    schemas: Schemas,
}

impl App {
    /// The state of one server.
    pub fn new(parts: AppParts) -> Self {
        let rates = parts.limits.rate.map(Rates::new);
        let places = Semaphore::new(parts.limits.concurrent_requests);
        Self(Arc::new(Shared {
            parts,
            rates,
            places,
            request_ids: RequestIds::new(),
            schemas: Schemas::default(),
        }))
    }

    /// The use cases.
    pub fn directory(&self) -> &Directory {
        &self.0.parts.directory
    }

    /// The read side.
    pub fn projections(&self) -> &Projections {
        &self.0.parts.projections
    }

    /// The look-up of identities.
    pub fn identities(&self) -> &IdentityCache {
        &self.0.parts.identities
    }

    /// The clock of the commands.
    pub fn clock(&self) -> &dyn Clock {
        &**self.0.parts.directory.clock()
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.0.parts.limits
    }

    /// API keys.
    pub fn keys(&self) -> &Keys {
        &self.0.parts.keys
    }

    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.0.parts.tokens.as_ref()
    }

    pub(crate) fn rates(&self) -> Option<&Rates> {
        self.0.rates.as_ref()
    }

    pub(crate) fn places(&self) -> &Semaphore {
        &self.0.places
    }

    pub(crate) fn request_ids(&self) -> &RequestIds {
        &self.0.request_ids
    }

    pub(crate) fn metrics(&self) -> Option<&PrometheusHandle> {
        self.0.parts.metrics.as_ref()
    }

    pub(crate) fn bus(&self) -> Bus {
        *self.0.parts.bus.borrow()
    }

    /// Which life of the log is served: another one once the relay found out that the database was restored behind it.
    pub(crate) fn epoch(&self) -> i32 {
        self.0.parts.directory.cell().last_epoch()
    }

    pub(crate) fn schemas(&self) -> &Schemas {
        &self.0.schemas
    }

    /// The last position that this node appended or saw.
    pub(crate) fn head(&self) -> i64 {
        *self.directory().cell().head().borrow()
    }

    /// The last position of the log itself.
    pub(crate) async fn head_in_log(&self) -> Result<i64, ApiError> {
        Ok(self
            .directory()
            .cell()
            .head_position()
            .await
            .map_err(CommandError::from)?)
    }

    /// The last position that reads of this node show.
    pub(crate) fn projected(&self) -> i64 {
        self.projections().position().max(0)
    }
}
