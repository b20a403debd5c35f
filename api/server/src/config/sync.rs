//! The settings of directory sync: how many runs, and where they may go.

use std::collections::BTreeMap;
use std::time::Duration;

use roster_commands::SyncOptions;
use roster_connectors::{Outbound, OutboundOptions};
use serde::Deserialize;

/// How syncs run, and what tenants' sources may reach. A tenant decides nothing here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSettings {
    /// Runs at once.
    pub at_once: usize,
    /// Milliseconds between pages.
    pub page_pause_ms: u64,
    /// Networks, addresses and host names beside the public ones, with commas between them.
    pub allow: String,
    /// Whether connections without TLS are let through.
    pub allow_http: bool,
    /// `provider=url`, with commas between them: what stands for a vendor's hosts.
    pub base_urls: String,
}

impl SyncSettings {
    /// How runs are paced.
    pub(crate) fn options(&self) -> SyncOptions {
        let pause = Duration::from_millis(self.page_pause_ms);
        SyncOptions {
            at_once: self.at_once,
            page_pause: (!pause.is_zero()).then_some(pause),
            ..SyncOptions::default()
        }
    }

    /// The one way out.
    pub(crate) fn outbound(&self) -> anyhow::Result<Outbound> {
        let base_urls: Option<BTreeMap<String, String>> = listed(&self.base_urls)
            .map(|pair| {
                let (provider, url) = pair.split_once('=')?;
                Some((provider.trim().to_owned(), url.trim().to_owned()))
            })
            .collect();
        let options = OutboundOptions {
            allow: listed(&self.allow).map(str::to_owned).collect(),
            allow_http: self.allow_http,
            base_urls: base_urls
                .ok_or_else(|| anyhow::anyhow!("setting sync.base_urls: expected provider=url"))?,
            ..OutboundOptions::default()
        };
        Outbound::new(options).map_err(|error| anyhow::anyhow!("settings of sync: {error}"))
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}
