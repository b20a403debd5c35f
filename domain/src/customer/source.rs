//! Where a customer row came from.

use serde::{Deserialize, Serialize};

use crate::{Personal, Timestamp};

/// The kind of a data source.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Written by hand or by an API client without a tag.
    #[default]
    Manual,
    /// A CSV import.
    Csv,
    /// An identity provider over SCIM.
    Scim,
    /// A sync connection.
    DirectorySync,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Manual, Self::Csv, Self::Scim, Self::DirectorySync];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Csv => "csv",
            Self::Scim => "scim",
            Self::DirectorySync => "directory_sync",
        }
    }

    /// The kind of a public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The stored number, 0 to 3.
    pub const fn number(self) -> i16 {
        match self {
            Self::Manual => 0,
            Self::Csv => 1,
            Self::Scim => 2,
            Self::DirectorySync => 3,
        }
    }

    /// The kind of a stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// The data source tag of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSource {
    /// The kind.
    pub kind: SourceKind,
    /// Such as `csv_file` or `hubspot`.
    pub provider: Option<String>,
    /// The saved connection, for kind `directory_sync`.
    pub connection_id: Option<String>,
    /// The row's id at the source.
    pub external_id: Personal<Option<String>>,
    /// When the source last confirmed the row.
    pub synced_at: Option<Timestamp>,
}

impl DataSource {
    /// The tag of rows without one.
    pub const fn manual() -> Self {
        Self {
            kind: SourceKind::Manual,
            provider: None,
            connection_id: None,
            external_id: Personal::Known(None),
            synced_at: None,
        }
    }

    /// Whether two tags name the same source; when it was synced does not matter.
    pub fn same_source(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.provider == other.provider
            && self.connection_id == other.connection_id
            && self.external_id == other.external_id
    }

    pub(super) fn open(&self) -> OpenSourceV1 {
        OpenSourceV1 {
            kind: self.kind.number(),
            provider: self.provider.clone(),
            connection_id: self.connection_id.clone(),
            synced_at: self.synced_at.map(|at| at.0),
        }
    }

    pub(super) fn external_id(&self) -> Option<&str> {
        self.external_id.known()?.as_deref()
    }

    pub(super) fn join(open: OpenSourceV1, external_id: Personal<Option<String>>) -> Self {
        Self {
            kind: SourceKind::from_number(open.kind).unwrap_or_default(),
            provider: open.provider,
            connection_id: open.connection_id,
            external_id,
            synced_at: open.synced_at.map(Timestamp),
        }
    }

    pub(super) fn sample() -> Self {
        Self {
            kind: SourceKind::DirectorySync,
            provider: Some("hubspot".into()),
            connection_id: Some("dconn_1".into()),
            external_id: Personal::Known(Some("151".into())),
            synced_at: Some(Timestamp(1_767_225_600_000_000)),
        }
    }
}

/// The open part of a stored tag. Frozen.
#[derive(Serialize, Deserialize)]
pub(super) struct OpenSourceV1 {
    kind: i16,
    provider: Option<String>,
    connection_id: Option<String>,
    synced_at: Option<i64>,
}
