//! The words, numbers and bounds of a purge.

use serde::{Deserialize, Serialize};

use super::{PurgeFilter, PurgeRefusal};

/// The most customers of one purge.
pub const LARGEST_PURGE: u64 = 5_000;

/// How far a purge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeStatus {
    /// No chunk is applied yet.
    #[default]
    Pending,
    /// Some chunks are applied.
    Running,
    /// Everybody who was there is erased.
    Completed,
    /// Somebody could not be erased.
    CompletedWithErrors,
    /// A person stopped it.
    Cancelled,
}

impl PurgeStatus {
    /// Every status; the place of each is its stored number.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::CompletedWithErrors,
        Self::Cancelled,
    ];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of a public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether a purge with this status is over.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 1,
            Self::Completed => 2,
            Self::CompletedWithErrors => 3,
            Self::Cancelled => 4,
        }
    }

    /// The status of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What became of customers. The sum is the number that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeCounts {
    /// Erased by this purge.
    pub deleted: u64,
    /// Never there, or gone before.
    pub not_found: u64,
    /// Could not be erased.
    pub failed: u64,
}

impl PurgeCounts {
    /// The number of customers.
    pub const fn total(&self) -> u64 {
        self.deleted
            .saturating_add(self.not_found)
            .saturating_add(self.failed)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            deleted: self.deleted.saturating_add(other.deleted),
            not_found: self.not_found.saturating_add(other.not_found),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}

/// Refuses a filter that is not restrictive unless the project is named; a name that is given must be the right one.
pub fn check_confirmation(
    filter: &PurgeFilter,
    project_id: &str,
    confirmation: Option<&str>,
) -> Result<(), PurgeRefusal> {
    match confirmation {
        Some(named) if named == project_id => Ok(()),
        Some(_) => Err(PurgeRefusal::ConfirmationRequired),
        None if filter.is_restrictive() => Ok(()),
        None => Err(PurgeRefusal::RestrictiveFilterRequired),
    }
}

/// Refuses a number of matches that the caller did not expect, or, without a limit of the caller's own, one too large.
pub fn check_total(
    matched: u64,
    expected: Option<u64>,
    limit: Option<u64>,
) -> Result<(), PurgeRefusal> {
    if expected.is_some_and(|expected| expected != matched) {
        return Err(PurgeRefusal::TotalChanged { matched });
    }
    if limit.is_none() && matched > LARGEST_PURGE {
        return Err(PurgeRefusal::TooManyMatches {
            matched,
            limit: LARGEST_PURGE,
        });
    }
    Ok(())
}
