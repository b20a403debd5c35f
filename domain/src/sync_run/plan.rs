//! The words and numbers of a run.

use serde::{Deserialize, Serialize};

use crate::Personal;
use crate::import::{Counts, StoredIssue};

/// Why a run started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Somebody asked for it.
    #[default]
    Manual,
    /// It was time.
    Schedule,
}

impl Trigger {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
        }
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The trigger of a stored number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Manual),
            1 => Some(Self::Schedule),
            _ => None,
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for a worker.
    #[default]
    Queued,
    /// Pages are read.
    Running,
    /// Everything is done.
    Succeeded,
    /// Everything is read; records failed, or deletions are held back.
    CompletedWithErrors,
    /// The run gave up.
    Failed,
    /// A person stopped it.
    Cancelled,
    /// The source answers nothing more for a long time.
    RateLimited,
    /// Its worker went; another one goes on.
    Interrupted,
}

impl RunStatus {
    /// Every status; the place of each is its stored number.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::CompletedWithErrors,
        Self::Failed,
        Self::Cancelled,
        Self::RateLimited,
        Self::Interrupted,
    ];

    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RateLimited => "rate_limited",
            Self::Interrupted => "interrupted",
        }
    }

    /// The status of a public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether a run with this status is over.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Interrupted)
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What became of rows whose record is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    /// Rows whose record is gone.
    pub removed_at_source: u64,
    /// Those of them that were switched off.
    pub disabled: u64,
    /// Those of them that were erased.
    pub deleted: u64,
    /// Those of them that wait for a confirmation.
    pub held_back: u64,
}

impl Removals {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            removed_at_source: self.removed_at_source + other.removed_at_source,
            disabled: self.disabled + other.disabled,
            deleted: self.deleted + other.deleted,
            held_back: self.held_back + other.held_back,
        }
    }

    /// Whether each row is counted as at most one outcome.
    pub const fn adds_up(self) -> bool {
        self.disabled + self.deleted + self.held_back <= self.removed_at_source
    }
}

/// Some pages of a walk, done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// How many pages.
    pub pages: u64,
    /// What became of their records.
    pub counts: Counts,
    /// What became of rows whose records the pages say are gone.
    pub removals: Removals,
    /// Values that were left out of records that were applied.
    pub warnings: u64,
    /// Rows that are now known to be at the source, and were not before.
    pub marked: u64,
    /// The findings that are kept.
    pub issues: Vec<StoredIssue>,
    /// Where the walk goes on, as JSON text; `None` at its clean end.
    pub place: Personal<Option<String>>,
    /// The cursor that the pages led to, as JSON text.
    pub cursor: Personal<Option<String>>,
    /// Whether the walk came to its clean end.
    pub ends_walk: bool,
}
