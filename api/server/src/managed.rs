//! Postgres and NATS that `roster serve` starts for itself where no database is configured.

use std::path::Path;

use anyhow::Context;
use roster_dev::kek;
use roster_dev::stack::{Stack, StackOptions};
use secrecy::{ExposeSecret, SecretString};

use crate::config::Settings;
use crate::output;

/// The servers that were started; stopped when dropped.
pub(crate) struct Managed {
    stack: Stack,
}

impl Managed {
    /// Starts them in the data folder and puts their URLs and key into the settings.
    pub(crate) async fn start(settings: &mut Settings) -> anyhow::Result<Self> {
        let mut options = StackOptions::durable(&settings.data_dir);
        options.environment.database_url = None;
        options.environment.nats_url = settings
            .nats
            .url
            .as_ref()
            .map(|url| url.expose_secret().to_owned());
        output::note(format_args!(
            "starting Postgres and NATS in {}",
            settings.data_dir.display()
        ));
        let stack = tokio::task::spawn_blocking(move || Stack::start(options))
            .await
            .context("start the servers")??;
        if settings.keys.kek.is_none() {
            settings.keys.kek = Some(own_key(&settings.own_kek())?);
        }
        if settings.anchors.key.is_none() {
            settings.anchors.key = Some(own_key(&settings.own_anchor_key())?);
        }
        settings.database.url = Some(stack.database_url().into());
        settings.nats.url = Some(stack.nats_url().into());
        Ok(Self { stack })
    }

    /// An error if one of them has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        Ok(self.stack.check()?)
    }

    /// Stops them and waits for it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        Ok(tokio::task::spawn_blocking(move || self.stack.stop())
            .await
            .context("stop the servers")??)
    }
}

/// A key of the data folder, made at the first start.
fn own_key(path: &Path) -> anyhow::Result<SecretString> {
    kek::ensure(path)?;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("key file {}", path.display()))?;
    Ok(text.trim().into())
}
