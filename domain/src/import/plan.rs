//! The words and numbers of an import.

use serde::{Deserialize, Serialize};

/// What happens to a row whose customer exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The customer is updated.
    #[default]
    Update,
    /// The row is skipped.
    Skip,
}

/// What an empty cell means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyCells {
    /// The field is cleared.
    #[default]
    Clear,
    /// The field stays.
    Keep,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportStatus {
    /// No chunk is applied yet.
    #[default]
    Pending,
    /// Some chunks are applied.
    Running,
    /// Every row is applied.
    Completed,
    /// Every row is read; some failed.
    CompletedWithErrors,
    /// The import gave up.
    Failed,
    /// A person stopped it.
    Cancelled,
    /// It could not go on, as when its staged body was lost.
    Interrupted,
}

impl ImportStatus {
    /// Every status; the place of each is its stored number.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::CompletedWithErrors,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
    ];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// The status of a public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether an import with this status is over.
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
            Self::Failed => 4,
            Self::Cancelled => 5,
            Self::Interrupted => 6,
        }
    }

    /// The status of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What became of rows. The sum is the number of rows read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// New customers.
    pub created: u64,
    /// Changed customers.
    pub updated: u64,
    /// Customers that were as the row says.
    pub unchanged: u64,
    /// Rows that were not to be applied.
    pub skipped: u64,
    /// Rows that could not be applied.
    pub failed: u64,
}

impl Counts {
    /// The number of rows.
    pub const fn total(&self) -> u64 {
        self.created
            .saturating_add(self.updated)
            .saturating_add(self.unchanged)
            .saturating_add(self.skipped)
            .saturating_add(self.failed)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            created: self.created.saturating_add(other.created),
            updated: self.updated.saturating_add(other.updated),
            unchanged: self.unchanged.saturating_add(other.unchanged),
            skipped: self.skipped.saturating_add(other.skipped),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}
