//! How chunks, passes and runs of an import end.

use roster_domain::import::{ImportRefusal, ImportStatus};
use roster_domain::stream::{Claim, claim_kind};
use roster_store::Verdict;
use uuid::Uuid;

use super::source::SourceError;
use super::work::WorkError;
use crate::{CommandError, NotFound};

impl From<ImportRefusal> for CommandError {
    fn from(refusal: ImportRefusal) -> Self {
        match refusal {
            ImportRefusal::ImportNotFound => Self::NotFound(NotFound::Import),
            ImportRefusal::AlreadyStarted
            | ImportRefusal::AlreadyFinished
            | ImportRefusal::NotFinished
            | ImportRefusal::CountsDisagree
            | ImportRefusal::OffsetOutOfOrder
            | ImportRefusal::StatusNotFinal => Self::internal("an import was run out of order"),
        }
    }
}

/// How a chunk ended.
pub(super) enum Flow {
    /// It is recorded, or kept to be recorded with the next one.
    On,
    /// The import is over.
    Over,
    /// Others changed its customers again and again: smaller chunks get through.
    Smaller,
    /// Another worker recorded rows.
    Moved,
}

/// Why a run gives an import up.
pub(super) enum GiveUp {
    /// It ends with this status and reason.
    Ends(ImportStatus, String),
    /// It goes on with the next run.
    Later(CommandError),
}

impl<E: Into<CommandError>> From<E> for GiveUp {
    fn from(error: E) -> Self {
        Self::Later(error.into())
    }
}

impl From<SourceError> for GiveUp {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Lost => Self::Ends(
                ImportStatus::Interrupted,
                "the staged text can no longer be read".into(),
            ),
            SourceError::Command(error) => Self::Later(error),
        }
    }
}

impl From<WorkError> for GiveUp {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Header(problem) => Self::Ends(
                ImportStatus::Failed,
                format!("the schema changed: {problem}"),
            ),
            WorkError::Command(error) => Self::Later(error),
        }
    }
}

/// How a pass over the rows ended.
pub(super) enum Pass {
    Ended,
    Stopped,
    /// The rows are to be read again from where the import stands.
    Again,
    /// The same, in smaller chunks.
    Smaller,
}

/// What became of a record.
pub(super) enum Recorded {
    Flow(Flow),
    Lost(Lost),
}

/// Why a chunk was not written.
pub(crate) struct Lost {
    /// Unique values and identities that others have.
    pub(crate) values: Vec<(Claim, Uuid)>,
    /// Whether streams changed since they were read.
    pub(crate) has_races: bool,
}

impl Lost {
    pub(crate) fn of(lost: Vec<(usize, Verdict)>) -> Self {
        let mut all = Self {
            values: Vec::new(),
            has_races: false,
        };
        for (_, verdict) in lost {
            match verdict {
                Verdict::ClaimTaken { claim, holder }
                    if matches!(
                        claim.kind,
                        claim_kind::UNIQUE_VALUE | claim_kind::CONNECTOR_IDENTITY
                    ) =>
                {
                    all.values.push((claim, holder));
                }
                _ => all.has_races = true,
            }
        }
        all
    }
}
