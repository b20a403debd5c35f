//! What a check found and what it proved.

use uuid::Uuid;

/// Findings that are listed; further ones are counted.
const MOST_LISTED: usize = 1_000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, if it is at a position.
    pub position: Option<i64>,
    /// Which stream, if it is one's.
    pub stream: Option<Uuid>,
    /// What.
    pub message: String,
}

/// What a check proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events whose digest was recomputed.
    pub events: i64,
    /// Batches whose link was recomputed.
    pub batches: i64,
    /// Streams whose head was compared with their events.
    pub streams: i64,
    /// Streams whose state was taken from its snapshot, which only a server with the key can have sealed for that version.
    pub snapshots: i64,
    /// Streams whose state was folded from their events.
    pub folded: i64,
    /// Claims that were compared with those of the states.
    pub claims: i64,
    /// Anchors that agree with the log, and the last position that one of them names.
    pub anchors: Anchors,
    /// What is wrong, in the order of positions.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub unlisted: u64,
    /// What could not be checked, and why.
    pub notes: Vec<String>,
}

/// What anchors proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    /// How many agree with the log.
    pub held: u64,
    /// Up to where the log is what was signed.
    pub proved_to: i64,
    /// Anchors of an earlier epoch that the log was restored to before.
    pub lost: u64,
}

/// Findings while they come.
#[derive(Debug, Default)]
pub(super) struct Findings {
    listed: Vec<Finding>,
    unlisted: u64,
}

impl Findings {
    pub(super) fn add(
        &mut self,
        position: Option<i64>,
        stream: Option<Uuid>,
        message: impl Into<String>,
    ) {
        let message = message.into();
        self.push(Finding {
            position,
            stream,
            message,
        });
    }

    /// Something about a position.
    pub(super) fn at(&mut self, position: i64, message: impl Into<String>) {
        self.add(Some(position), None, message);
    }

    /// Something about a stream.
    pub(super) fn of(&mut self, stream: Uuid, message: impl Into<String>) {
        self.add(None, Some(stream), message);
    }

    pub(super) fn append(&mut self, others: Self) {
        self.unlisted += others.unlisted;
        for finding in others.listed {
            self.push(finding);
        }
    }

    fn push(&mut self, finding: Finding) {
        if self.listed.len() < MOST_LISTED {
            self.listed.push(finding);
        } else {
            self.unlisted += 1;
        }
    }

    /// The listed ones by position, those without one last, and the number of the others.
    pub(super) fn in_order(mut self) -> (Vec<Finding>, u64) {
        self.listed
            .sort_by_key(|finding| (finding.position.is_none(), finding.clone()));
        self.listed.dedup();
        (self.listed, self.unlisted)
    }
}
