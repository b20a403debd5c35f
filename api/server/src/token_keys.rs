//! The keys that tokens are verified with: from the settings, and again from their file or URL while the server runs.

use std::time::Duration;

use anyhow::Context;
use roster_http::{JwkSource, TokenRules, Tokens};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client;
use crate::config::AuthSettings;

/// How often a file is read again.
const FILE_EVERY: Duration = Duration::from_mins(1);
/// How often a URL is fetched again.
const URL_EVERY: Duration = Duration::from_mins(5);
/// How soon after a failure.
const URL_RETRY: Duration = Duration::from_secs(10);
/// A set is a few KiB; whoever answers may send anything.
const LARGEST_SET: usize = 1 << 20;

/// The keys of the settings, kept up to date; `None` where only API keys are taken.
pub(crate) async fn start(
    settings: &AuthSettings,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<Option<Tokens>> {
    let rules = TokenRules {
        issuer: settings.issuer.clone(),
        audience: settings.audience.clone(),
    };
    if let Some(secret) = &settings.jwt_secret {
        return Ok(Some(
            Tokens::new(JwkSource::Secret(secret.clone()), rules)
                .context("setting auth.jwt_secret")?,
        ));
    }
    if let Some(path) = &settings.jwks_file {
        let tokens = Tokens::new(JwkSource::JwksFile(path.clone()), rules)
            .context("setting auth.jwks_file")?;
        let shared = tokens.clone();
        tracker.spawn(async move {
            while stop
                .run_until_cancelled(tokio::time::sleep(FILE_EVERY))
                .await
                .is_some()
            {
                if let Err(error) = shared.reload() {
                    tracing::warn!(%error, "the JWK set stays as it was");
                }
            }
        });
        return Ok(Some(tokens));
    }
    let Some(url) = settings.jwks_url.clone() else {
        return Ok(None);
    };
    let tokens = Tokens::new(JwkSource::JwksUrl, rules).context("setting auth.jwks_url")?;
    let shared = tokens.clone();
    let http = client::http(&url)?;
    let mut fetched = fetch(&http, &url, &shared).await;
    tracker.spawn(async move {
        loop {
            let wait = if fetched { URL_EVERY } else { URL_RETRY };
            if stop
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .is_none()
            {
                return;
            }
            fetched = fetch(&http, &url, &shared).await;
        }
    });
    Ok(Some(tokens))
}

/// Whether the keys are those that the URL answered with.
async fn fetch(http: &reqwest::Client, url: &str, tokens: &Tokens) -> bool {
    let attempt = async {
        let answer = http
            .get(url)
            .timeout(URL_RETRY)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            // Its query may be a secret.
            .map_err(reqwest::Error::without_url)?;
        let set = client::text(answer, LARGEST_SET).await?;
        anyhow::Ok(tokens.replace(&set)?)
    };
    match attempt.await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "the JWK set stays as it was");
            false
        }
    }
}
