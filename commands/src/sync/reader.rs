//! Reading pages from a source: patience with what passes, and an end with what does not.

use std::collections::HashSet;
use std::time::Duration;

use rand::Rng;
use roster_domain::Timestamp;
use roster_domain::connection::Settings;
use roster_domain::sync_run::RunStatus;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::SyncOptions;
use super::settings::redacted;
use super::source::{Page, Session, SourceError, Walk};

/// The longest pause between two attempts that a source does not ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How a run ends, where it does not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) status: RunStatus,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_at: Option<Timestamp>,
}

impl End {
    pub(super) fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: RunStatus::Failed,
            code,
            message: message.into(),
            retry_at: None,
        }
    }
}

/// Why there is no page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPage {
    /// The run is over.
    Ends(End),
    /// The walk begins anew; with `true` without a cursor.
    Restart(bool),
    /// The run is to stop, or another worker has it.
    Halted,
}

/// An open connection to a source, with the patience of a run.
pub(super) struct Reader {
    session: Box<dyn Session>,
    settings: Settings,
    options: SyncOptions,
    /// When the run must have ended.
    until: Instant,
    /// Places that this walk was at.
    places: HashSet<String>,
    is_renewed: bool,
}

impl Reader {
    /// `spent` is how long the run goes on already.
    pub(super) fn new(
        session: Box<dyn Session>,
        settings: Settings,
        options: SyncOptions,
        spent: Duration,
    ) -> Self {
        Self {
            session,
            settings,
            options,
            until: Instant::now() + options.longest.saturating_sub(spent),
            places: HashSet::new(),
            is_renewed: false,
        }
    }

    /// The page at a place of the walk. `now` is the time of the clock.
    pub(super) async fn page(
        &mut self,
        walk: &Walk,
        now: Timestamp,
        halt: &CancellationToken,
    ) -> Result<Page, NoPage> {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            if Instant::now() >= self.until {
                return Err(self.ends("took_too_long", "the run took too long"));
            }
            let asked = halt.run_until_cancelled(self.session.page(walk));
            let Some(answer) = asked.await else {
                return Err(NoPage::Halted);
            };
            let mut error = match answer {
                Ok(page) => {
                    self.is_renewed = false;
                    return self.fresh(page);
                }
                Err(error) => error,
            };
            if matches!(error, SourceError::Unauthorized(_)) && !self.is_renewed {
                self.is_renewed = true;
                match self.session.renew().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(other) => error = other,
                }
            }
            failed += 1;
            let pause = self.pause(error, failed, now, begun)?;
            if halt.run_until_cancelled(sleep(pause)).await.is_none() {
                return Err(NoPage::Halted);
            }
        }
    }

    /// Refuses a place where the walk was before: it would go round for ever.
    fn fresh(&mut self, page: Page) -> Result<Page, NoPage> {
        let Some(place) = page.place.as_ref().filter(|place| !place.is_null()) else {
            return Ok(Page {
                place: None,
                ..page
            });
        };
        if self.places.insert(place.to_string()) {
            Ok(page)
        } else {
            let message = "the source leads back to a page that was read before";
            Err(self.ends("cursor_repeated", message))
        }
    }

    /// How long to wait before the next attempt, where there is to be one.
    fn pause(
        &self,
        error: SourceError,
        failed: u32,
        now: Timestamp,
        begun: Instant,
    ) -> Result<Duration, NoPage> {
        let now = now.plus_seconds(i64::try_from(begun.elapsed().as_secs()).unwrap_or_default());
        let is_throttled = matches!(error, SourceError::Throttled(_));
        let asked = match error {
            SourceError::Throttled(asked) => asked,
            SourceError::Transient(ref message) if failed >= self.options.attempts => {
                return Err(self.ends("source_unavailable", message));
            }
            SourceError::Transient(_) => None,
            SourceError::Quota(retry_at) => {
                return Err(limited("quota", retry_at, "the quota is used up"));
            }
            SourceError::Unauthorized(message) => return Err(self.ends("auth_failed", &message)),
            SourceError::Forbidden(message) => return Err(self.ends("forbidden", &message)),
            SourceError::Config(message) => return Err(self.ends("config_invalid", &message)),
            SourceError::Answer(message) => return Err(self.ends("answer_invalid", &message)),
            SourceError::Refused(message) => return Err(self.ends("address_refused", &message)),
            SourceError::CursorGone(_) => return Err(NoPage::Restart(true)),
            SourceError::PlaceGone(_) => return Err(NoPage::Restart(false)),
        };
        let pause = asked.unwrap_or_else(|| self.backoff(failed));
        let is_long = pause > self.options.patience || Instant::now() + pause >= self.until;
        if is_throttled && (is_long || failed >= self.options.attempts) {
            let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
            let retry_at = Some(now.plus_seconds(seconds));
            return Err(limited(
                "throttled",
                retry_at,
                "the source asks for a pause",
            ));
        }
        Ok(pause)
    }

    /// Twice as long as the one before, up to a minute, half of it by chance.
    fn backoff(&self, failed: u32) -> Duration {
        let whole = self
            .options
            .backoff
            .saturating_mul(1 << failed.saturating_sub(1).min(10))
            .min(LONGEST_PAUSE);
        whole / 2 + whole.mul_f64(rand::rng().random_range(0.0..=0.5))
    }

    fn ends(&self, code: &'static str, message: &str) -> NoPage {
        NoPage::Ends(End::failed(code, redacted(&self.settings, message)))
    }

    /// Forgets where the walk was: it begins anew.
    pub(super) fn restart(&mut self) {
        self.places.clear();
    }
}

fn limited(code: &'static str, retry_at: Option<Timestamp>, message: &str) -> NoPage {
    NoPage::Ends(End {
        status: RunStatus::RateLimited,
        code,
        message: message.to_owned(),
        retry_at,
    })
}
