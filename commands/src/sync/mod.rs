//! Filling a directory from somewhere else.
//!
//! A connection says where from and how; a run of it is a job: pages of a [`source::Source`] become customers by the same
//! decisions as rows of an import, each page in one append with the record of how far the run is.

mod connections;
mod digest;
mod due;
mod gather;
mod meaning;
mod page;
mod part;
mod pipeline;
mod reader;
mod recall;
mod removal;
mod rows;
mod run;
mod runs;
mod schedule;
mod seen;
mod settings;
pub mod source;
mod sweep;
mod task;
mod trial;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use connections::{ConnectionDeleted, ConnectionSaved, DeletedRows};
pub use rows::{Row, Rows, Tag};
pub use runs::{RunInput, RunStarted};
pub use schedule::next_run_at;
pub(crate) use seen::discard as discard_seen;
pub use settings::{ConnectionInput, CredentialsInput, MappingInput};
pub use trial::{Preview, PreviewRow, Trial, TrialInput};

use source::Source;

/// What syncs of a server read from.
#[derive(Clone)]
pub struct Syncing {
    sources: Arc<BTreeMap<&'static str, Arc<dyn Source>>>,
    rows: Arc<dyn Rows>,
}

impl fmt::Debug for Syncing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Syncing")
            .field("sources", &self.sources.keys())
            .finish_non_exhaustive()
    }
}

impl Syncing {
    /// Sources by the word of their provider, and the rows of customers as reads have them.
    pub fn new(sources: Vec<Arc<dyn Source>>, rows: Arc<dyn Rows>) -> Self {
        let named = sources
            .into_iter()
            .map(|source| (source.provider().provider, source));
        Self {
            sources: Arc::new(named.collect()),
            rows,
        }
    }

    /// Every source, in the order of their words.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.sources.values()
    }

    pub(crate) fn source(&self, provider: &str) -> Option<&Arc<dyn Source>> {
        self.sources.get(provider)
    }

    pub(crate) fn rows(&self) -> &dyn Rows {
        &*self.rows
    }
}

/// How patient runs are.
#[derive(Clone, Copy, Debug)]
pub struct SyncOptions {
    /// Runs of one server at once; 4.
    pub at_once: usize,
    /// The first pause after a page that could not be read; each further one is twice as long, up to a minute; 1 s.
    pub backoff: Duration,
    /// Failed attempts at one page after which a run gives up; 8.
    pub attempts: u32,
    /// The longest pause that a source may ask for; a longer one ends the run as rate limited; 15 minutes.
    pub patience: Duration,
    /// The longest that a run may take; 24 hours.
    pub longest: Duration,
    /// A pause after each page, for tests that stop one half-way.
    pub page_pause: Option<Duration>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            at_once: 4,
            backoff: Duration::from_secs(1),
            attempts: 8,
            patience: Duration::from_mins(15),
            longest: Duration::from_hours(24),
            page_pause: None,
        }
    }
}
