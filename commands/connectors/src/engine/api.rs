//! A client of one vendor's interface: URLs under its base, its authentication, its errors.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use roster_commands::sync::source::SourceError;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::auth::{Auth, Token};
use super::{Answer, Fault, fault};
use crate::outbound::{Ask, Opened, Outbound, Redactor, Reply};

/// A vendor's interface.
pub(crate) struct Api {
    outbound: Outbound,
    base: Url,
    auth: Auth,
    token: Option<Token>,
    redactor: Redactor,
    meaning: fn(&Fault) -> Option<SourceError>,
    headers: HeaderMap,
}

impl Api {
    pub(super) fn new(
        outbound: Outbound,
        base: Url,
        auth: Auth,
        meaning: fn(&Fault) -> Option<SourceError>,
    ) -> Self {
        let mut redactor = Redactor::default();
        if let Auth::Basic(user, secret) = &auth {
            // On the wire the pair is one word.
            redactor.add(&format!("{user}:{}", secret.expose_secret()));
        }
        Self {
            outbound,
            base,
            auth,
            token: None,
            redactor,
            meaning,
            headers: HeaderMap::new(),
        }
    }

    /// The guarded client behind it.
    pub(crate) const fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// With a header on every request.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Never shows this text.
    pub(super) fn hide(&mut self, secret: &str) {
        self.redactor.add(secret);
    }

    /// A URL under the base. Parts of a path come through [`segment`].
    pub(crate) fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, SourceError> {
        let whole = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let mut url = Url::parse(&whole).map_err(|error| SourceError::Config(error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Reads under the base.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, SourceError> {
        let url = self.url(path, query)?;
        self.ask(Ask::get(url)).await
    }

    /// Asks with a JSON body.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Answer, SourceError> {
        let url = self.url(path, &[])?;
        self.ask(Ask::post(url, "application/json", body.to_string()))
            .await
    }

    /// Reads a URL that the vendor gave. It must be of the same origin, since the credential goes along.
    pub(crate) async fn follow(&mut self, link: &str) -> Result<Answer, SourceError> {
        let url = same_origin(&self.base, link)?;
        self.ask(Ask::get(url)).await
    }

    /// Sends a request and reads JSON.
    pub(crate) async fn ask(&mut self, ask: Ask) -> Result<Answer, SourceError> {
        let ask = self.signed(ask).await?;
        let reply = self.outbound.send(ask).await?;
        self.read(&reply)
    }

    /// Sends a request whose body is read piece by piece; a refusal is an error already. 304 is none.
    pub(crate) async fn stream(&mut self, ask: Ask) -> Result<Opened, SourceError> {
        let ask = self.signed(ask).await?;
        let mut opened = self.outbound.open(ask).await?;
        if opened.status.is_success() || opened.status.as_u16() == 304 {
            return Ok(opened);
        }
        let reply = Reply {
            status: opened.status,
            headers: opened.headers,
            at: opened.at,
            body: opened.body.piece().await.unwrap_or_default(),
        };
        Err(self.refusal(&reply))
    }

    fn read(&self, reply: &Reply) -> Result<Answer, SourceError> {
        if !reply.status.is_success() {
            return Err(self.refusal(reply));
        }
        let json = fault::json(reply)?;
        if fault::hidden(&json) {
            return Err(self.refusal(reply));
        }
        Ok(Answer {
            json,
            headers: reply.headers.clone(),
            at: reply.at,
        })
    }

    fn refusal(&self, reply: &Reply) -> SourceError {
        let fault = Fault::of(reply);
        (self.meaning)(&fault).unwrap_or_else(|| fault.meaning())
    }

    /// The request with what authenticates it.
    async fn signed(&mut self, mut ask: Ask) -> Result<Ask, SourceError> {
        ask.headers.extend(self.headers.clone());
        if let Auth::Grant(grant) = &self.auth {
            let now = self.outbound.now();
            if self.token.as_ref().is_none_or(|token| token.is_over(now)) {
                let token = grant.token(&self.outbound).await?;
                self.redactor.add(token.value.expose_secret());
                self.token = Some(token);
            }
        }
        self.auth.sign(&mut ask, self.token.as_ref())?;
        Ok(ask)
    }

    /// Gets a new token; `false` where a credential is all there is.
    pub(super) async fn renew(&mut self) -> Result<bool, SourceError> {
        let Auth::Grant(grant) = &self.auth else {
            return Ok(false);
        };
        let token = grant.token(&self.outbound).await?;
        self.redactor.add(token.value.expose_secret());
        self.token = Some(token);
        Ok(true)
    }

    /// A message as it may be shown.
    pub(crate) fn clean(&self, message: &str) -> String {
        self.redactor.clean(message)
    }

    /// An error as it may be shown.
    pub(super) fn cleaned(&self, error: SourceError) -> SourceError {
        use SourceError as E;
        match error {
            E::Throttled(_) | E::Quota(_) => error,
            E::Transient(text) => E::Transient(self.clean(&text)),
            E::Unauthorized(text) => E::Unauthorized(self.clean(&text)),
            E::Forbidden(text) => E::Forbidden(self.clean(&text)),
            E::Config(text) => E::Config(self.clean(&text)),
            E::CursorGone(text) => E::CursorGone(self.clean(&text)),
            E::PlaceGone(text) => E::PlaceGone(self.clean(&text)),
            E::Answer(text) => E::Answer(self.clean(&text)),
            E::Refused(text) => E::Refused(self.clean(&text)),
        }
    }
}

/// A URL that stands in an answer of another, which must be of the same origin.
pub(crate) fn same_origin(from: &Url, link: &str) -> Result<Url, SourceError> {
    let url = from
        .join(link)
        .map_err(|_| SourceError::Answer("the next page is no URL".into()))?;
    if url.origin() != from.origin() {
        let host = url.host_str().unwrap_or_default();
        let message =
            format!("the next page is on another origin ({host}), which gets no credentials");
        return Err(SourceError::Refused(message));
    }
    Ok(url)
}

/// One part of a path, so that a setting cannot lead elsewhere.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_~!:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
