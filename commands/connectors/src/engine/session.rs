//! A source made of a vendor: the description, the opening, the checks and the guard against circles.

use std::marker::PhantomData;

use async_trait::async_trait;
use roster_commands::sync::source::{
    Check, Page, Provider, Session, Settings, Source, SourceError, Walk,
};
use roster_domain::Problem;

use super::trail::Trail;
use super::{Api, Fault, Opening};
use crate::outbound::Outbound;

/// What is a vendor's own.
#[async_trait]
pub(crate) trait Vendor: Sized + Send + Sync + 'static {
    /// What the list of providers says.
    fn provider() -> Provider;

    /// A vendor of these settings, which fit the description, and a client of its interface.
    ///
    /// # Errors
    /// What the description cannot say.
    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>>;

    /// The next page of a walk.
    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError>;

    /// The paths that a mapping can read, where the vendor can say it.
    async fn paths(&mut self, _api: &mut Api) -> Result<Option<Vec<String>>, SourceError> {
        Ok(None)
    }

    /// What an error means where it is not what its status says.
    fn fault(_fault: &Fault) -> Option<SourceError> {
        None
    }
}

/// The source of a vendor.
pub(crate) struct Of<V> {
    provider: Provider,
    outbound: Outbound,
    vendor: PhantomData<fn() -> V>,
}

impl<V: Vendor> Of<V> {
    pub(crate) fn new(outbound: Outbound) -> Self {
        Self {
            provider: V::provider(),
            outbound,
            vendor: PhantomData,
        }
    }
}

impl<V: Vendor> Source for Of<V> {
    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn open(&self, settings: Settings) -> Result<Box<dyn Session>, Vec<Problem>> {
        let opening = Opening::read(&self.provider, &settings, &self.outbound)?;
        let (vendor, api) = V::open(&opening)?;
        Ok(Box::new(Opened {
            vendor,
            api,
            paths: settings.paths,
            trail: Trail::default(),
        }))
    }
}

/// An open connection to a vendor.
struct Opened<V> {
    vendor: V,
    api: Api,
    paths: Vec<String>,
    trail: Trail,
}

impl<V: Vendor> Opened<V> {
    /// Which paths of the mapping nothing stands at; `None` where the vendor cannot say it.
    async fn missing(&mut self) -> Result<Option<Vec<String>>, SourceError> {
        let Some(known) = self.vendor.paths(&mut self.api).await? else {
            return Ok(None);
        };
        let there = |path: &String| {
            known.iter().any(|known| {
                path == known
                    || path
                        .strip_prefix(known.as_str())
                        .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let missing = self.paths.iter().filter(|path| !there(path));
        Ok(Some(missing.cloned().collect()))
    }
}

#[async_trait]
impl<V: Vendor> Session for Opened<V> {
    async fn check(&mut self) -> Vec<Check> {
        let one = Walk {
            limit: Some(1),
            ..Walk::default()
        };
        let good = |name| Check {
            name,
            ok: true,
            message: String::new(),
        };
        let bad = |name, message: String| Check {
            name,
            ok: false,
            message,
        };
        match self.page(&one).await {
            Ok(_) => {}
            Err(SourceError::Unauthorized(message)) => return vec![bad("authentication", message)],
            Err(error) => return vec![good("authentication"), bad("access", error.to_string())],
        }
        let mut checks = vec![good("authentication"), good("access")];
        match self.missing().await {
            Ok(None) => {}
            Ok(Some(missing)) if missing.is_empty() => checks.push(good("fields")),
            Ok(Some(missing)) => {
                let message = format!("nothing stands at {}", missing.join(", "));
                checks.push(bad("fields", self.api.clean(&message)));
            }
            Err(error) => checks.push(bad("fields", self.api.clean(&error.to_string()))),
        }
        checks
    }

    async fn page(&mut self, walk: &Walk) -> Result<Page, SourceError> {
        self.trail.asked(walk.place.as_ref());
        let read = self.vendor.page(&mut self.api, walk).await;
        let page = read.map_err(|error| self.api.cleaned(error))?;
        self.trail.leads(page.place.as_ref())?;
        Ok(page)
    }

    async fn renew(&mut self) -> Result<bool, SourceError> {
        let renewed = self.api.renew().await;
        renewed.map_err(|error| self.api.cleaned(error))
    }
}
