//! The cell that is served: migration, log, projections, jobs and what HTTP needs.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use chrono::SecondsFormat;
use roster_commands::clock::{Clock, Ids, SystemClock, SystemIds};
use roster_commands::keys::Keys;
use roster_commands::{Directory, JobOptions, Jobs, Limits, Syncing, UnmatchedLimits};
use roster_http::{App, AppParts, ProjectedRows, Rate};
use roster_projections::identity::{IdentityCache, IdentityOptions};
use roster_projections::{ProjectionOptions, Projections, relay};
use roster_store::{Cell, CellConfig, StoreError, Vault, migrate, restore};
use secrecy::SecretString;
use sqlx::migrate::MigrateError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{self, BusAddress};
use crate::config::{LimitSettings, Settings};
use crate::serve::anchors;
use crate::{session, telemetry, token_keys};

/// A cell with everything that runs on it.
pub(crate) struct Served {
    pub(crate) directory: Directory,
    pub(crate) projections: Projections,
    /// What the log is reached with.
    pub(crate) service_url: SecretString,
    app: App,
}

impl Served {
    /// Migrates where that is wanted, then starts the log, the projections and the jobs.
    pub(crate) async fn start(
        settings: &Settings,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let vault = session::vault(settings)?;
        let metrics = telemetry::start_metrics(tracker, stop.clone())?;
        let tokens = token_keys::start(&settings.auth, tracker, stop.clone()).await?;
        let database = &settings.database;
        if let Some(url) = database.url.as_ref().or(database.service_url.as_ref()) {
            migrate::awake(url).await;
        }
        let service_url = migrated(settings, &vault).await?;
        let bus = bus::follow(BusAddress::of(settings), tracker, stop.clone()).await?;
        let config = CellConfig {
            name: settings.cell.clone(),
            database_url: service_url.clone(),
            pool_size: settings.database.pool_size,
            cache_streams: settings.cache.streams,
        };
        let cell = Cell::open(config, vault, tracker, stop.clone())
            .await
            .context("open the cell")?;
        if let Some(restored) = restore::unchecked(cell.pool()).await? {
            bail!(
                "this database was restored ({}), and people who were erased since the copy may be alive in it: \
                 run `roster restore-check` first",
                restored
                    .restored_at
                    .to_rfc3339_opts(SecondsFormat::Secs, true)
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        anchors::start(settings, &cell, Arc::clone(&clock), tracker, stop.clone())?;
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let limits = Limits {
            import_bytes: settings.limits.import_bytes,
            schema_in_request: settings.limits.schema_in_request,
            unmatched: UnmatchedLimits {
                burst: settings.unmatched.burst,
                per_minute: settings.unmatched.per_minute,
                most: settings.unmatched.most,
            },
            audit: settings.journal.audit.into(),
        };
        let owner = ids.stream_id().to_string();
        let directory = Directory::new(cell.clone(), Arc::clone(&clock), ids, limits);
        let projections = Projections::start(
            cell.clone(),
            ProjectionOptions {
                owner,
                erasure_ledger: Some(settings.erasure_ledger()),
            },
            tracker,
            stop.clone(),
        );
        let sources = roster_connectors::all(settings.sync.outbound()?);
        let rows = Arc::new(ProjectedRows::new(projections.clone()));
        let directory = directory.with_syncing(Syncing::new(sources, rows));
        let pause = |millis: u64| (millis > 0).then(|| Duration::from_millis(millis));
        let options = JobOptions {
            at_once: settings.jobs.at_once,
            chunk_pause: pause(settings.import.chunk_pause_ms),
            purge_pause: pause(settings.purge.chunk_pause_ms),
            sync: settings.sync.options(),
            journal_days: settings.journal.retention_days,
            ..JobOptions::default()
        };
        Jobs::start(directory.clone(), options, tracker.clone(), stop.clone());
        let identities = IdentityCache::start(
            cell.clone(),
            projections.clone(),
            bus.client.clone(),
            IdentityOptions {
                most: settings.cache.identities,
            },
            tracker,
            stop.clone(),
        );
        let bus = if settings.nats.relay {
            let relayed = relay::start(
                cell.clone(),
                bus.client,
                settings.nats.relay_options(),
                tracker,
                stop.clone(),
            );
            bus::with_relay(bus.state, relayed, tracker, stop.clone())
        } else {
            bus.state
        };
        let app = App::new(AppParts {
            directory: directory.clone(),
            projections: projections.clone(),
            identities,
            keys: Keys::new(cell.pool().clone(), clock),
            tokens,
            limits: http_limits(&settings.limits),
            metrics: Some(metrics),
            bus,
        });
        Ok(Self {
            directory,
            projections,
            service_url,
            app,
        })
    }

    /// Every HTTP surface.
    pub(crate) fn router(&self) -> Router {
        roster_http::router(self.app.clone(), vec![roster_internal::surface()])
    }
}

/// Migrates with the owner's URL, where there is one and nobody else does it; gives the service's.
async fn migrated(settings: &Settings, vault: &Vault) -> anyhow::Result<SecretString> {
    let Some(owner) = settings.database.url.as_ref().filter(|_| settings.migrate) else {
        return session::service_url(settings, vault).await;
    };
    let derived = match migrate::migrate(owner, &settings.cell, vault).await {
        Ok(derived) => derived,
        Err(error) if is_refused(&error) => {
            let hint = "migrate: database.url must be the owner's; with `migrate = false` a server leaves it to others";
            return Err(anyhow::Error::from(error).context(hint));
        }
        Err(error) => return Err(anyhow::Error::from(error).context("migrate")),
    };
    tracing::info!(cell = settings.cell, "migrated");
    Ok(settings.database.service_url.clone().unwrap_or(derived))
}

/// Whether Postgres says that the role may not (SQLSTATE 42501).
fn is_refused(error: &StoreError) -> bool {
    let database = match error {
        StoreError::Database(error) | StoreError::Migration(MigrateError::Execute(error)) => {
            error.as_database_error()
        }
        _ => None,
    };
    database
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "42501")
}

fn http_limits(settings: &LimitSettings) -> roster_http::Limits {
    let rate = NonZeroU32::new(settings.rate_per_second).map(|per_second| Rate {
        per_second,
        burst: NonZeroU32::new(settings.rate_burst)
            .unwrap_or(per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1))),
    });
    roster_http::Limits {
        body_bytes: settings.body_bytes,
        request_timeout: Duration::from_millis(settings.request_timeout_ms),
        concurrent_requests: settings.concurrent_requests,
        rate,
    }
}
