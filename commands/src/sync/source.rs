//! What a directory is filled from: records, page by page, in words that every vendor's interface fits.
//!
//! A [`Source`] is one kind of outside system; a [`Session`] is one saved connection to it, opened for a run, a test or a preview.
//! The engine owns mapping, counting, deletion, back-off and everything that is written; a session only reads. It is asked for one
//! page at a time and remembers nothing that matters: where to go on comes back with each page and may be handed to another session
//! after a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use roster_domain::{Problem, Timestamp};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value};

/// What the list of providers says of a source.
#[derive(Clone, Debug, Serialize)]
pub struct Provider {
    /// The stable word, such as `hubspot`.
    pub provider: &'static str,
    /// The name for people.
    pub name: &'static str,
    /// What kind of system it is.
    pub kind: ProviderKind,
    /// The ways to authenticate; exactly one where `credentials` do not say which.
    pub auth: Vec<AuthKind>,
    /// A JSON schema of `config`.
    pub config_schema: Value,
    /// Whether a run may ask only for what changed since the last one.
    pub incremental: bool,
    /// Whether an incremental run is told of deleted records.
    pub detects_deletes: bool,
    /// The mapping that is proposed, as (path in a record, schema field).
    pub default_mapping: Vec<(&'static str, &'static str)>,
    /// Which rights a credential needs, and what else an admin should know.
    pub docs: &'static str,
}

/// What kind of system a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Customer relations.
    Crm,
    /// A spreadsheet.
    Sheet,
    /// A help desk.
    Helpdesk,
    /// An identity provider.
    Idp,
    /// A file.
    File,
    /// Any JSON over HTTP.
    Http,
    /// A database.
    Sql,
}

/// One way to authenticate.
#[derive(Clone, Debug, Serialize)]
pub struct AuthKind {
    /// The word in `credentials.type`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it takes.
    pub fields: Vec<AuthField>,
}

/// One part of a credential.
#[derive(Clone, Debug, Serialize)]
pub struct AuthField {
    /// The member of `credentials`.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// Whether it is never shown again.
    pub secret: bool,
    /// Whether it must be there.
    pub required: bool,
}

/// A credential, opened.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Which [`AuthKind`].
    pub kind: String,
    /// Its parts.
    pub parts: BTreeMap<String, SecretString>,
}

/// What a connection is opened with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who reads.
    pub credentials: Credentials,
    /// What [`Provider::config_schema`] describes.
    pub config: Map<String, Value>,
    /// The paths of the mapping: what must be read of each record. Empty reads what the vendor sends by itself.
    pub paths: Vec<String>,
}

/// One kind of outside system.
pub trait Source: Send + Sync + 'static {
    /// What the list of providers says.
    fn provider(&self) -> &Provider;

    /// A connection by its settings. Nothing is sent yet.
    ///
    /// # Errors
    /// Every finding about the settings, under `credentials` or `config`.
    fn open(&self, settings: Settings) -> Result<Box<dyn Session>, Vec<Problem>>;
}

/// A connection to an outside system.
#[async_trait]
pub trait Session: Send + Sync {
    /// The cheapest reads that show whether the connection works, in the order in which they were tried; the first that fails ends it.
    async fn check(&mut self) -> Vec<Check>;

    /// The next page of a walk.
    async fn page(&mut self, walk: &Walk) -> Result<Page, SourceError>;

    /// Gets a new token after [`SourceError::Unauthorized`]; `false` where a credential is all there is.
    async fn renew(&mut self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// One finding of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was tried: `authentication`, `access`, `fields`.
    pub name: &'static str,
    /// Whether it worked.
    pub ok: bool,
    /// The vendor's own words where it did not, without secrets.
    pub message: String,
}

/// Where a walk through a source is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk {
    /// From where on changes are asked for, as a page gave it; `None` walks through everything.
    pub since: Option<Value>,
    /// Where the walk goes on, as the page before gave it; `None` at its beginning.
    pub place: Option<Value>,
    /// The most records that are of use; sources that can't ask for fewer answer what they have.
    pub limit: Option<usize>,
}

/// Some records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The records, in the source's order.
    pub records: Vec<Record>,
    /// Where the walk goes on; `None` after its clean end.
    pub place: Option<Value>,
    /// The cursor from which a later walk starts once this page is written: the largest value seen or the vendor's own token, less
    /// the source's look-back where it has one. `None` leaves the cursor as it is.
    pub cursor: Option<Value>,
}

/// One record of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The vendor's id of it.
    pub id: String,
    /// What it says, nested as the vendor has it. A mapping reads it by paths such as `name.given` or `emails.0.value`.
    pub fields: Map<String, Value>,
    /// Whether it says that the record is gone.
    pub deleted: bool,
    /// Why it cannot be used, such as a line of a file with too many cells: it counts as read and failed.
    pub problem: Option<String>,
}

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// Not now: again after so long, or after a back-off where the vendor does not say.
    Throttled(Option<Duration>),
    /// Nothing more for a long time: the run ends as `rate_limited`.
    Quota(Option<Timestamp>),
    /// Something that may pass: a 5xx, a broken connection, a body that is cut off.
    Transient(String),
    /// The credential does not count (any more).
    Unauthorized(String),
    /// The credential may not read this.
    Forbidden(String),
    /// The vendor says that the configuration is wrong.
    Config(String),
    /// The vendor has forgotten the cursor: only a full walk helps.
    CursorGone(String),
    /// The vendor has forgotten the place of this walk: it begins anew.
    PlaceGone(String),
    /// The answer is none that the vendor documents.
    Answer(String),
    /// An address, redirect or body that is not let through.
    Refused(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled(_) => formatter.write_str("the source asks for a pause"),
            Self::Quota(_) => formatter.write_str("the source's quota is used up"),
            Self::Transient(message)
            | Self::Unauthorized(message)
            | Self::Forbidden(message)
            | Self::Config(message)
            | Self::CursorGone(message)
            | Self::PlaceGone(message)
            | Self::Answer(message)
            | Self::Refused(message) => formatter.write_str(message),
        }
    }
}

impl std::error::Error for SourceError {}
