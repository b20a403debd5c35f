//! How a command reaches the database of its settings: URLs, key-encryption key, an open cell.

use anyhow::{Context, bail};
use roster_store::anchors::AnchorKey;
use roster_store::{Cell, CellConfig, StoreError, Vault, migrate};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Settings;
use crate::ready;

/// The key-encryption key of the settings; without one, that of the servers started in the data folder.
pub(crate) fn vault(settings: &Settings) -> anyhow::Result<Vault> {
    if let Some(kek) = &settings.keys.kek {
        return Vault::parse(kek.expose_secret()).context("setting keys.kek");
    }
    if !settings.is_managed() {
        bail!(
            "no key-encryption key: set ROSTER_KEK_FILE to a file with 64 hexadecimal digits (`openssl rand -hex 32`)"
        );
    }
    let path = settings.own_kek();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("key file {}", path.display()))?;
    Vault::parse(&text).with_context(|| format!("key file {}", path.display()))
}

/// The key that signs anchors; without one in the settings, that of the servers started in the data folder.
pub(crate) fn anchor_key(settings: &Settings) -> anyhow::Result<Option<AnchorKey>> {
    if let Some(key) = &settings.anchors.key {
        let key = AnchorKey::parse(key.expose_secret()).context("setting anchors.key")?;
        return Ok(Some(key));
    }
    let path = settings.own_anchor_key();
    if !settings.is_managed() || !path.exists() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("key file {}", path.display()))?;
    let key = AnchorKey::parse(&text).with_context(|| format!("key file {}", path.display()))?;
    Ok(Some(key))
}

/// The owner's URL: as set, or that of the Postgres which `roster serve` started.
pub(crate) fn owner_url(settings: &Settings) -> anyhow::Result<SecretString> {
    if let Some(owner) = &settings.database.url {
        return Ok(owner.clone());
    }
    if !settings.is_managed() {
        bail!("this needs the owner of the schemas: set DATABASE_URL or database.url");
    }
    let path = settings.ready_path();
    let ready = ready::read(&path).with_context(|| {
        format!(
            "no database: set DATABASE_URL, or start `roster serve` here ({})",
            path.display()
        )
    })?;
    Ok(ready.database_url.into())
}

/// The URL of the service's role: as set, or derived from the owner's.
pub(crate) async fn service_url(
    settings: &Settings,
    vault: &Vault,
) -> anyhow::Result<SecretString> {
    if let Some(service) = &settings.database.service_url {
        return Ok(service.clone());
    }
    let owner = owner_url(settings)?;
    Ok(migrate::find_service_url(&owner, &settings.cell, vault).await?)
}

/// A connection as the owner of the schemas.
pub(crate) async fn connect_owner(settings: &Settings) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = owner_url(settings)?.expose_secret().parse()?;
    let options = options.application_name("roster copy");
    PgConnection::connect_with(&options)
        .await
        .context("connect to Postgres")
}

/// An open cell for a command that ends.
pub(crate) struct Session {
    pub(crate) cell: Cell,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Session {
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_by(settings, async |config, vault, tracker, stop| {
            Cell::open(config, vault, tracker, stop).await
        })
        .await
    }

    /// The same for a log whose event types may differ from this build's, which verification tells.
    pub(crate) async fn open_to_verify(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_by(settings, async |config, vault, tracker, stop| {
            Cell::open_to_verify(config, vault, tracker, stop).await
        })
        .await
    }

    async fn open_by(
        settings: &Settings,
        open: impl AsyncFn(
            CellConfig,
            Vault,
            &TaskTracker,
            CancellationToken,
        ) -> Result<Cell, StoreError>,
    ) -> anyhow::Result<Self> {
        let vault = vault(settings)?;
        let config = CellConfig {
            name: settings.cell.clone(),
            database_url: service_url(settings, &vault).await?,
            pool_size: CellConfig::LEAST_POOL,
            cache_streams: 1,
        };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let cell = open(config, vault, &tracker, stop.clone()).await?;
        Ok(Self {
            cell,
            tracker,
            stop,
        })
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.cell.pool().close().await;
    }
}
