//! The one way out: HTTP (and the socket of a database) to where a tenant points, without reaching what only we can reach.
//!
//! HTTPS only; every host of every hop is resolved to addresses that were checked and that are then connected to; redirects are
//! followed here, with the same checks and without credentials on another origin; bytes after decompression and time have limits;
//! proxies of the environment are not used. [`OutboundOptions`] alone relaxes it.

mod address;
mod body;
mod options;
mod redact;
mod resolver;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use roster_commands::clock::{Clock, SystemClock};
use roster_commands::sync::source::SourceError;
use roster_domain::Timestamp;
use tokio::net::TcpStream;

use address::Allowed;
pub(crate) use body::Body;
pub use options::OutboundOptions;
pub use redact::Redactor;
use resolver::{Forbidden, Guarded};

/// The most redirects of one request.
const HOPS: usize = 5;

/// The guarded client. Cheap to clone.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    client: Client,
    allowed: Arc<Allowed>,
    bases: BTreeMap<String, Url>,
    options: OutboundOptions,
    clock: Arc<dyn Clock>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Sent to whatever answers.
    pub(crate) headers: HeaderMap,
    /// Sent only to the origin of `url`.
    pub(crate) secrets: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Ask {
    /// A GET.
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            secrets: HeaderMap::new(),
            body: None,
        }
    }

    /// A POST of a body.
    pub(crate) fn post(url: Url, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let mut ask = Self::get(url);
        ask.method = Method::POST;
        ask.body = Some(body.into());
        let kind = HeaderValue::from_static(kind);
        ask.headers.insert(reqwest::header::CONTENT_TYPE, kind);
        ask
    }

    /// With one more header, unless its value cannot be sent.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}

/// What came back, its body still on the way.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// When the answer was made, by the vendor's clock where it says so.
    pub(crate) at: Timestamp,
    pub(crate) body: Body,
}

/// What came back, whole.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) at: Timestamp,
    pub(crate) body: Bytes,
}

impl Outbound {
    /// A client of these settings.
    ///
    /// # Errors
    /// What is wrong with the settings, or with the TLS roots of the machine.
    pub fn new(options: OutboundOptions) -> Result<Self, String> {
        // A library that asks for the provider of the process finds one; an earlier choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut allowed = Allowed::parse(&options.allow);
        let mut bases = BTreeMap::new();
        for (provider, base) in &options.base_urls {
            let url =
                Url::parse(base).map_err(|error| format!("base URL of {provider}: {error}"))?;
            let host = url.host_str().unwrap_or_default();
            if literal(&url).is_none() {
                allowed.host(host);
            }
            bases.insert(provider.clone(), url);
        }
        let allowed = Arc::new(allowed);
        #[expect(clippy::disallowed_methods, reason = "this is the guarded client")]
        let client = Client::builder()
            .dns_resolver(Guarded(Arc::clone(&allowed)))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("roster/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("outbound client: {error}"))?;
        Ok(Self(Arc::new(Inner {
            client,
            allowed,
            bases,
            options,
            clock: Arc::new(SystemClock),
        })))
    }

    /// Where a vendor answers, if the operator says so.
    pub(crate) fn base(&self, provider: &str) -> Option<&Url> {
        self.0.bases.get(provider)
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The limits of the client.
    pub(crate) fn options(&self) -> &OutboundOptions {
        &self.0.options
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    /// [`SourceError::Refused`] for what is not let through, [`SourceError::Transient`] for what broke on the way.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Reply, SourceError> {
        let whole = async {
            let opened = self.follow(ask).await?;
            let body = opened.body.whole(self.0.options.page_bytes).await?;
            Ok(Reply {
                status: opened.status,
                headers: opened.headers,
                at: opened.at,
                body,
            })
        };
        let limit = self.0.options.answer_timeout;
        tokio::time::timeout(limit, whole)
            .await
            .map_err(|_| late(limit))?
    }

    /// Sends a request and leaves its body to be read piece by piece.
    ///
    /// # Errors
    /// As [`Outbound::send`].
    pub(crate) async fn open(&self, ask: Ask) -> Result<Opened, SourceError> {
        let limit = self.0.options.answer_timeout;
        tokio::time::timeout(limit, self.follow(ask))
            .await
            .map_err(|_| late(limit))?
    }

    /// A socket to a database, connected to an address that was checked.
    ///
    /// # Errors
    /// As [`Outbound::send`].
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, SourceError> {
        let limit = self.0.options.connect_timeout;
        let connected = async {
            let addresses = resolver::checked(&self.0.allowed, host, port)
                .await
                .map_err(|error| match error.downcast::<Forbidden>() {
                    Ok(forbidden) => SourceError::Refused(forbidden.0),
                    Err(error) => SourceError::Transient(format!("{host}: {error}")),
                })?;
            TcpStream::connect(addresses.as_slice())
                .await
                .map_err(|error| SourceError::Transient(format!("{host}: {error}")))
        };
        tokio::time::timeout(limit, connected)
            .await
            .map_err(|_| late(limit))?
    }

    /// Sends a request and follows its redirects.
    async fn follow(&self, mut ask: Ask) -> Result<Opened, SourceError> {
        for _ in 0..=HOPS {
            let answer = self.hop(&ask).await?;
            let at = date(answer.headers().get(DATE)).unwrap_or_else(|| self.now());
            let Some(next) = target(&ask.url, answer.status(), answer.headers()) else {
                return Ok(Opened {
                    status: answer.status(),
                    headers: answer.headers().clone(),
                    at,
                    body: Body::new(answer, &self.0.options),
                });
            };
            let next = next.map_err(SourceError::Answer)?;
            if ask.method != Method::GET {
                let message = "a redirect of a request that is no GET is not followed";
                return Err(SourceError::Refused(message.into()));
            }
            if next.origin() != ask.url.origin() {
                ask.secrets.clear();
            }
            ask.url = next;
        }
        Err(SourceError::Refused(format!("more than {HOPS} redirects")))
    }

    /// One request without its redirects.
    async fn hop(&self, ask: &Ask) -> Result<reqwest::Response, SourceError> {
        self.check(&ask.url)?;
        let mut request = self
            .0
            .client
            .request(ask.method.clone(), ask.url.clone())
            .header(ACCEPT_ENCODING, "gzip")
            .headers(ask.headers.clone())
            .headers(ask.secrets.clone());
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        request.send().await.map_err(|error| broken(&error))
    }

    /// Whether a URL may be asked. Names are checked where they are resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), SourceError> {
        let refused = |message: String| Err(SourceError::Refused(message));
        let trusted = self
            .0
            .bases
            .values()
            .any(|base| base.origin() == url.origin());
        match url.scheme() {
            "https" => {}
            "http" if trusted || self.0.options.allow_http => {}
            scheme => return refused(format!("{scheme}:// is not let through, only https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("a URL may not carry a user or password".into());
        }
        match literal(url) {
            Some(address) if !trusted => match self.0.allowed.refusal(address) {
                Some(kind) => refused(format!("{address} is an address that is {kind}")),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The address that a URL spells, in whatever notation.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

/// Where a redirect leads.
fn target(from: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Result<Url, String>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(LOCATION)?;
    let next = location.to_str().ok().and_then(|to| from.join(to).ok());
    Some(next.ok_or_else(|| "a redirect to what is no URL".into()))
}

/// The instant of an HTTP date.
pub(crate) fn date(header: Option<&HeaderValue>) -> Option<Timestamp> {
    let instant = httpdate::parse_http_date(header?.to_str().ok()?).ok()?;
    let since = instant.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(Timestamp)
}

fn late(limit: Duration) -> SourceError {
    SourceError::Transient(format!("no whole answer within {} s", limit.as_secs_f32()))
}

/// What broke, without the URL: it may hold a secret.
fn broken(error: &reqwest::Error) -> SourceError {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return SourceError::Refused(forbidden.0.clone());
        }
        causes.push(inner.to_string());
        cause = inner.source();
    }
    causes.dedup();
    let message = if causes.is_empty() {
        "the request failed".to_owned()
    } else {
        causes.join(": ")
    };
    if message.contains("invalid peer certificate") {
        return SourceError::Refused(message);
    }
    SourceError::Transient(message)
}
