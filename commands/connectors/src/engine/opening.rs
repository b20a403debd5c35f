//! Settings that were held against their description, as a source reads them.

use std::collections::BTreeSet;

use reqwest::Url;
use roster_commands::sync::source::{Provider, Settings};
use roster_domain::Problem;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::schema::{credential_findings, findings, kind_of};
use super::{Api, Auth, Vendor};
use crate::outbound::Outbound;

/// What a source is opened with.
pub(crate) struct Opening<'a> {
    provider: &'a Provider,
    settings: &'a Settings,
    pub(crate) outbound: &'a Outbound,
}

impl<'a> Opening<'a> {
    /// Settings that fit the description of their source.
    pub(super) fn read(
        provider: &'a Provider,
        settings: &'a Settings,
        outbound: &'a Outbound,
    ) -> Result<Self, Vec<Problem>> {
        let config = Value::Object(settings.config.clone());
        let mut found = credential_findings(&provider.auth, &settings.credentials);
        found.extend(findings(&provider.config_schema, &config, &["config"]));
        if found.is_empty() {
            Ok(Self {
                provider,
                settings,
                outbound,
            })
        } else {
            Err(found)
        }
    }

    /// A member of `config`, or its default.
    pub(crate) fn value(&self, name: &str) -> &Value {
        let given = self
            .settings
            .config
            .get(name)
            .filter(|value| !value.is_null());
        given.unwrap_or(&self.provider.config_schema["properties"][name]["default"])
    }

    /// A text of `config`; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.value(name).as_str().unwrap_or_default().trim()
    }

    /// A number of `config`.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.value(name).as_u64().unwrap_or_default()
    }

    /// Which way to authenticate.
    pub(crate) fn kind(&self) -> &'static str {
        kind_of(&self.provider.auth, &self.settings.credentials).map_or("", |kind| kind.kind)
    }

    /// A part of the credential; empty where there is none.
    pub(crate) fn secret(&self, name: &str) -> &str {
        let part = self.settings.credentials.parts.get(name);
        part.map_or("", |part| part.expose_secret().trim())
    }

    /// The members below a prefix that the mapping reads, each once: `email` of `properties.email`. Everything where the prefix is
    /// empty.
    pub(crate) fn wanted(&self, prefix: &str) -> BTreeSet<&str> {
        let below = |path: &'a String| match prefix {
            "" => Some(path.as_str()),
            prefix => path.strip_prefix(prefix)?.strip_prefix('.'),
        };
        let paths = self.settings.paths.iter().filter_map(below);
        paths
            .map(|path| path.split('.').next().unwrap_or(path))
            .collect()
    }

    /// The paths of the mapping.
    pub(crate) fn paths(&self) -> &[String] {
        &self.settings.paths
    }

    /// A client of the vendor's interface, at the vendor's URL or where the operator says that it is.
    pub(crate) fn api<V: Vendor>(&self, base: &str, auth: Auth) -> Result<Api, Vec<Problem>> {
        let base = self.base(base).map_err(|problem| vec![problem])?;
        let secrets = self.settings.credentials.parts.iter().filter(|(name, _)| {
            let kind = kind_of(&self.provider.auth, &self.settings.credentials);
            kind.is_none_or(|kind| {
                kind.fields
                    .iter()
                    .any(|field| field.secret && field.name == name.as_str())
            })
        });
        let mut api = Api::new(self.outbound.clone(), base, auth, V::fault);
        for (_, secret) in secrets {
            api.hide(secret.expose_secret());
        }
        Ok(api)
    }

    /// The URL of the vendor, unless the operator says otherwise.
    pub(crate) fn base(&self, vendors: &str) -> Result<Url, Problem> {
        if let Some(base) = self.outbound.base(self.provider.provider) {
            return Ok(base.clone());
        }
        Url::parse(vendors).map_err(|error| {
            Problem::new(["config"], "invalid_format", format!("{vendors}: {error}"))
        })
    }

    /// A finding about a member of `config`.
    pub(crate) fn problem(name: &str, message: impl Into<String>) -> Vec<Problem> {
        vec![Problem::new(["config", name], "invalid_format", message)]
    }
}
