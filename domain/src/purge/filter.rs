//! What the customers of a purge were found by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::customer::SourceKind;
use crate::event::{from_bytes, to_bytes};
use crate::value::fold::fold;

/// The name under which what was sought is sealed.
pub const SOUGHT_PART: &str = "purge-sought";

/// A whole filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// The part that is about no person.
    pub open: OpenFilter,
    /// The part that may be.
    pub sought: Sought,
}

/// What a filter asks about source, switch and time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFilter {
    /// Only enabled or only disabled customers.
    pub enabled: Option<bool>,
    /// Only those from this kind of source.
    pub source_kind: Option<SourceKind>,
    /// Only those from this provider.
    pub source_provider: Option<String>,
    /// Only those from this connection.
    pub source_connection: Option<String>,
    /// Only those whose record moved at this time or later.
    pub updated_since: Option<Timestamp>,
}

/// What a filter asks about values; kept only sealed, and only while the purge goes on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sought {
    /// The search term.
    pub search: Option<String>,
    /// Canonical values by field.
    pub fields: Vec<(String, String)>,
}

/// Frozen; the version is in front of it.
#[derive(Serialize, Deserialize)]
struct SoughtV1 {
    search: Option<String>,
    fields: Vec<(String, String)>,
}

impl fmt::Debug for Sought {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<personal>")
    }
}

impl Sought {
    /// Whether nothing was sought.
    pub const fn is_empty(&self) -> bool {
        self.search.is_none() && self.fields.is_empty()
    }

    /// The bytes to seal: one byte for the version of the shape, then the shape.
    pub fn encode(&self) -> Vec<u8> {
        let shape = SoughtV1 {
            search: self.search.clone(),
            fields: self.fields.clone(),
        };
        let mut bytes = vec![1];
        bytes.extend(to_bytes(&shape));
        bytes
    }

    /// What was sought, from opened bytes; `None` if they have another shape.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (1, shape) = bytes
            .split_first()
            .map(|(version, shape)| (*version, shape))?
        else {
            return None;
        };
        let shape: SoughtV1 = from_bytes((0, 1), shape).ok()?;
        Some(Self {
            search: shape.search,
            fields: shape.fields,
        })
    }
}

impl PurgeFilter {
    /// Whether it names a part of the directory: a search with something to look for, or a data source. A switch alone
    /// is most of the directory, as is a search of which nothing is left when accents are folded away.
    pub fn is_restrictive(&self) -> bool {
        let searches = self
            .sought
            .search
            .as_deref()
            .is_some_and(|search| !fold(search.trim()).trim().is_empty());
        searches
            || self.open.source_kind.is_some()
            || self.open.source_provider.is_some()
            || self.open.source_connection.is_some()
    }
}
