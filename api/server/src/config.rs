//! The typed settings. Owns their names, types and checks; `config/layers.rs` finds their values, and
//! `deploy/roster.defaults.toml` documents each of them and gives its default.

mod error;
mod layers;
mod redact;
mod sync;

use std::path::{Path, PathBuf};
use std::time::Duration;

use roster_commands::AuditMode;
use roster_projections::relay::RelayOptions;
use roster_store::CellConfig;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::client::is_here;

pub use error::ConfigError;
pub use layers::{Configuration, Inputs, environment};
pub use sync::SyncSettings;

/// Every setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port` of HTTP.
    pub listen: String,
    /// The cell that is served.
    pub cell: String,
    /// Whether a start migrates.
    pub migrate: bool,
    /// Whether there is a demo project.
    pub demo: Demo,
    /// Data of the servers that are started.
    pub data_dir: PathBuf,
    /// Where to say that HTTP answers.
    #[serde(deserialize_with = "blank_is_absent")]
    pub ready_file: Option<PathBuf>,
    /// Postgres.
    pub database: DatabaseSettings,
    /// The bus.
    pub nats: NatsSettings,
    /// The key-encryption key.
    pub keys: KeySettings,
    /// Erasures.
    pub erasures: ErasureSettings,
    /// Copies of the database.
    pub backup: BackupSettings,
    /// Signed anchors of the log.
    pub anchors: AnchorSettings,
    /// Tokens.
    pub auth: AuthSettings,
    /// Limits.
    pub limits: LimitSettings,
    /// Jobs.
    pub jobs: JobSettings,
    /// Imports.
    pub import: ImportSettings,
    /// Purges.
    pub purge: PurgeSettings,
    /// Directory sync.
    pub sync: SyncSettings,
    /// The journal of dispatches.
    pub journal: JournalSettings,
    /// Unmatched identities.
    pub unmatched: UnmatchedSettings,
    /// Memory.
    pub cache: CacheSettings,
    /// Logs.
    pub log: LogSettings,
    /// Traces.
    pub telemetry: TelemetrySettings,
}

/// Whether there is a demo project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demo {
    /// Only where Postgres is started by this program.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// Where Postgres is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// As the owner of the schemas.
    #[serde(deserialize_with = "blank_is_absent")]
    pub url: Option<SecretString>,
    /// A file with it.
    #[serde(deserialize_with = "blank_is_absent")]
    pub url_file: Option<PathBuf>,
    /// As the service.
    #[serde(deserialize_with = "blank_is_absent")]
    pub service_url: Option<SecretString>,
    /// A file with it.
    #[serde(deserialize_with = "blank_is_absent")]
    pub service_url_file: Option<PathBuf>,
    /// Connections.
    pub pool_size: u32,
}

/// Where the bus is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// One URL, or several with commas.
    #[serde(deserialize_with = "blank_is_absent")]
    pub url: Option<SecretString>,
    /// A `.creds` file.
    #[serde(deserialize_with = "blank_is_absent")]
    pub credentials_file: Option<PathBuf>,
    /// Whether events are published.
    pub relay: bool,
    /// Hours that a message stays.
    pub max_age_hours: u32,
    /// Bytes of the stream.
    pub max_bytes: i64,
    /// Copies of the stream.
    pub replicas: usize,
}

impl NatsSettings {
    /// How the stream of events is kept.
    pub fn relay_options(&self) -> RelayOptions {
        RelayOptions {
            max_age: Duration::from_hours(u64::from(self.max_age_hours)),
            max_bytes: self.max_bytes,
            replicas: self.replicas,
        }
    }
}

/// The key-encryption key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The key itself.
    #[serde(deserialize_with = "blank_is_absent")]
    pub kek: Option<SecretString>,
    /// A file with it.
    #[serde(deserialize_with = "blank_is_absent")]
    pub kek_file: Option<PathBuf>,
}

/// Where erasures are listed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureSettings {
    /// The folder of the ledger.
    #[serde(deserialize_with = "blank_is_absent")]
    pub ledger_dir: Option<PathBuf>,
}

/// How the database is copied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSettings {
    /// The folder of `pg_dump` and `pg_restore`.
    #[serde(deserialize_with = "blank_is_absent")]
    pub pg_bin: Option<PathBuf>,
}

/// How the log is anchored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorSettings {
    /// The key that signs.
    #[serde(deserialize_with = "blank_is_absent")]
    pub key: Option<SecretString>,
    /// A file with it.
    #[serde(deserialize_with = "blank_is_absent")]
    pub key_file: Option<PathBuf>,
    /// The file that is appended to.
    #[serde(deserialize_with = "blank_is_absent")]
    pub file: Option<PathBuf>,
    /// Seconds between anchors.
    pub interval_seconds: u64,
}

/// How tokens are verified.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// For HS256.
    #[serde(deserialize_with = "blank_is_absent")]
    pub jwt_secret: Option<SecretString>,
    /// A file with it.
    #[serde(deserialize_with = "blank_is_absent")]
    pub jwt_secret_file: Option<PathBuf>,
    /// A file with a JWK set.
    #[serde(deserialize_with = "blank_is_absent")]
    pub jwks_file: Option<PathBuf>,
    /// The URL of a JWK set.
    #[serde(deserialize_with = "blank_is_absent")]
    pub jwks_url: Option<String>,
    /// The only `iss`.
    #[serde(deserialize_with = "blank_is_absent")]
    pub issuer: Option<String>,
    /// The required `aud`.
    #[serde(deserialize_with = "blank_is_absent")]
    pub audience: Option<String>,
}

/// What one request may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Bytes of a JSON body.
    pub body_bytes: usize,
    /// Bytes of an import.
    pub import_bytes: u64,
    /// Milliseconds until an answer begins.
    pub request_timeout_ms: u64,
    /// Requests under way at once.
    pub concurrent_requests: usize,
    /// Requests of one credential a second; 0 is no limit.
    pub rate_per_second: u32,
    /// Requests of one credential at once; 0 is two seconds' worth.
    pub rate_burst: u32,
    /// Customers up to which a schema change is checked within its request.
    pub schema_in_request: usize,
}

/// How jobs run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// Jobs that run at once.
    pub at_once: usize,
}

/// How imports run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSettings {
    /// Milliseconds between chunks.
    pub chunk_pause_ms: u64,
}

/// How purges run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeSettings {
    /// Milliseconds between chunks.
    pub chunk_pause_ms: u64,
}

/// How dispatches are recorded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSettings {
    /// Whether an answer waits for its record.
    pub audit: Audit,
    /// Days that a record is kept.
    pub retention_days: u16,
}

/// Whether the answer to a dispatch waits for its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audit {
    /// It does.
    Durable,
    /// It does not.
    Async,
}

impl From<Audit> for AuditMode {
    fn from(audit: Audit) -> Self {
        match audit {
            Audit::Durable => Self::Durable,
            Audit::Async => Self::Async,
        }
    }
}

/// How many unmatched identities are taken in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmatchedSettings {
    /// New ones of a project at once.
    pub burst: u32,
    /// New ones of a project each minute in the long run.
    pub per_minute: u32,
    /// Rows of a project.
    pub most: u32,
}

/// What is kept in memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Streams.
    pub streams: usize,
    /// Customers and identities.
    pub identities: usize,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// Filter directives.
    pub level: String,
}

/// Where traces go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// The collector.
    #[serde(deserialize_with = "blank_is_absent")]
    pub otlp_endpoint: Option<String>,
    /// The name of this service in a trace.
    pub service_name: String,
    /// Which part of the requests is traced whose caller did not say, 0 to 1.
    pub sample_ratio: f64,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Where the servers that are started say how to reach them.
    pub fn ready_path(&self) -> PathBuf {
        self.ready_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("ready.json"))
    }

    /// Where the key-encryption key of the servers that are started is.
    pub fn own_kek(&self) -> PathBuf {
        self.data_dir.join("kek")
    }

    /// The file that lists who was erased from the cell: outside the database, so beside the key if nothing else is said.
    pub fn erasure_ledger(&self) -> PathBuf {
        let beside_key = || self.keys.kek_file.as_deref().and_then(Path::parent);
        let folder = self.erasures.ledger_dir.as_deref().or_else(beside_key);
        folder
            .unwrap_or(&self.data_dir)
            .join(format!("erasures-{}.jsonl", self.cell))
    }

    /// Where the key that signs anchors of the servers that are started is.
    pub fn own_anchor_key(&self) -> PathBuf {
        self.data_dir.join("anchor-key")
    }

    /// The file of anchors.
    pub fn anchors_path(&self) -> PathBuf {
        self.anchors
            .file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("anchors.jsonl"))
    }

    /// Whether Postgres is to be started.
    pub fn is_managed(&self) -> bool {
        self.database.url.is_none() && self.database.service_url.is_none()
    }

    /// What no type can say: the setting and its problem.
    fn problem(&self) -> Option<(&'static str, String)> {
        let sources = [
            self.auth.jwt_secret.is_some(),
            self.auth.jwks_file.is_some(),
            self.auth.jwks_url.is_some(),
        ];
        let is_secure = |url: &str| url.starts_with("https://") || is_here(url);
        let is_http = |url: &str| {
            ["http://", "https://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        };
        let found = [
            (
                !self.listen.contains(':'),
                "listen",
                "must be host:port, such as 127.0.0.1:8080",
            ),
            (
                self.database.pool_size < CellConfig::LEAST_POOL,
                "database.pool_size",
                "must be at least 6",
            ),
            (
                self.limits.body_bytes < 1024,
                "limits.body_bytes",
                "must be at least 1024",
            ),
            (
                self.limits.import_bytes == 0,
                "limits.import_bytes",
                "must be at least 1",
            ),
            (
                self.limits.request_timeout_ms < 100,
                "limits.request_timeout_ms",
                "must be at least 100",
            ),
            (
                self.limits.concurrent_requests == 0,
                "limits.concurrent_requests",
                "must be at least 1",
            ),
            (
                self.cache.streams == 0,
                "cache.streams",
                "must be at least 1",
            ),
            (
                self.journal.retention_days == 0,
                "journal.retention_days",
                "must be at least 1",
            ),
            (
                self.anchors.interval_seconds == 0,
                "anchors.interval_seconds",
                "must be at least 1",
            ),
            (self.jobs.at_once == 0, "jobs.at_once", "must be at least 1"),
            (self.sync.at_once == 0, "sync.at_once", "must be at least 1"),
            (
                self.nats.max_age_hours == 0,
                "nats.max_age_hours",
                "must be at least 1",
            ),
            (
                self.nats.max_bytes < 1 << 20,
                "nats.max_bytes",
                "must be at least 1048576",
            ),
            (
                !(1..=5).contains(&self.nats.replicas),
                "nats.replicas",
                "must be 1 to 5",
            ),
            (
                self.auth
                    .jwks_url
                    .as_deref()
                    .is_some_and(|url| !is_secure(url)),
                "auth.jwks_url",
                "must begin with https://",
            ),
            (
                self.telemetry
                    .otlp_endpoint
                    .as_deref()
                    .is_some_and(|url| !is_http(url)),
                "telemetry.otlp_endpoint",
                "must begin with http:// or https://",
            ),
            (
                !(0.0..=1.0).contains(&self.telemetry.sample_ratio),
                "telemetry.sample_ratio",
                "must be 0 to 1",
            ),
        ];
        if sources.iter().filter(|given| **given).count() > 1 {
            let problem =
                "only one of auth.jwt_secret, auth.jwks_file and auth.jwks_url can be set";
            return Some(("auth", problem.to_owned()));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            return Some(("log.level", error.to_string()));
        }
        found
            .into_iter()
            .find(|(is_wrong, ..)| *is_wrong)
            .map(|(_, key, problem)| (key, problem.to_owned()))
    }

    /// Reads the secrets that are in files into their settings.
    fn read_files(&mut self) -> Result<(), (&'static str, String)> {
        let pairs = [
            (
                "database.url_file",
                &self.database.url_file,
                &mut self.database.url,
            ),
            (
                "database.service_url_file",
                &self.database.service_url_file,
                &mut self.database.service_url,
            ),
            ("keys.kek_file", &self.keys.kek_file, &mut self.keys.kek),
            (
                "anchors.key_file",
                &self.anchors.key_file,
                &mut self.anchors.key,
            ),
            (
                "auth.jwt_secret_file",
                &self.auth.jwt_secret_file,
                &mut self.auth.jwt_secret,
            ),
        ];
        for (key, file, secret) in pairs {
            if let Some(path) = file {
                *secret = Some(read_secret(path).map_err(|problem| (key, problem))?);
            }
        }
        Ok(())
    }
}

/// The text of a file without the line break at its end.
fn read_secret(path: &Path) -> Result<SecretString, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = text.trim();
    if text.is_empty() {
        Err(format!("{} is empty", path.display()))
    } else {
        Ok(text.into())
    }
}

fn blank_is_absent<'de, D: Deserializer<'de>, T: From<String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.trim().is_empty()).then(|| T::from(text.trim().to_owned())))
}

impl<'de> Deserialize<'de> for Demo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?
            .to_ascii_lowercase()
            .as_str()
        {
            "auto" => Ok(Self::Auto),
            "true" | "1" | "yes" | "on" => Ok(Self::On),
            "false" | "0" | "no" | "off" | "" => Ok(Self::Off),
            _ => Err(D::Error::custom("must be true, false or auto")),
        }
    }
}

#[cfg(test)]
mod tests;
