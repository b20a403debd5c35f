//! The folded state of a purge.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{OpenFilter, PurgeCounts, PurgeEvent, PurgeStatus};
use crate::meta::Principal;
use crate::stream::{Claim, Stream, claim_kind, kind};
use crate::{Personal, Timestamp};

/// One purge as its events made it. Failures are not part of it: they are read from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// The purge's own id: that of its stream.
    pub id: Uuid,
    /// What the customers were found by; `None` where they were named.
    pub filter: Option<OpenFilter>,
    /// Whether they were found by values too.
    pub is_sought: bool,
    /// How many matched when it started.
    pub matched: u64,
    /// How many of them it is of.
    pub total: u64,
    /// What became of those that were looked at.
    pub counts: PurgeCounts,
    /// How far it is.
    pub status: PurgeStatus,
    /// What kind of credential asked.
    pub principal: Principal,
    /// The subject of a token.
    pub subject: Personal<String>,
    /// The keyed hash of the request, by which the same one is known.
    pub request: Personal<String>,
    /// Whether a person wants it to stop.
    pub cancel_requested: bool,
    /// When it was asked for; `None` before.
    pub created_at: Option<Timestamp>,
    /// When its first chunk was applied.
    pub started_at: Option<Timestamp>,
    /// When the last event happened.
    pub updated_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether its retention is over.
    pub is_expired: bool,
}

impl Purge {
    /// Whether there is such a purge.
    pub const fn is_started(&self) -> bool {
        self.created_at.is_some()
    }

    /// How many were not looked at yet.
    pub const fn remaining(&self) -> u64 {
        self.total.saturating_sub(self.counts.total())
    }

    /// How far it is by customers, 0 to 100; 100 only once it completed.
    pub fn progress_pct(&self) -> u8 {
        if matches!(
            self.status,
            PurgeStatus::Completed | PurgeStatus::CompletedWithErrors
        ) {
            return 100;
        }
        let done = u128::from(self.counts.total()) * 100 / u128::from(self.total.max(1));
        u8::try_from(done.min(99)).unwrap_or(99)
    }

    /// The status of a purge that looked at everybody.
    pub const fn completed_status(&self) -> PurgeStatus {
        if self.counts.failed == 0 {
            PurgeStatus::Completed
        } else {
            PurgeStatus::CompletedWithErrors
        }
    }

    /// The claim that an unfinished purge holds.
    pub fn open_claim(id: Uuid) -> Claim {
        Claim {
            kind: claim_kind::OPEN_JOB,
            key: format!("purge\0{id}"),
        }
    }

    /// The claim that an unfinished purge holds on its request, so that the same one is answered with it.
    pub fn request_claim(request: &str) -> Claim {
        Claim {
            kind: claim_kind::OPEN_JOB,
            key: format!("purge-request\0{request}"),
        }
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: PurgeEvent) {
        match event {
            PurgeEvent::Started {
                at,
                id,
                filter,
                is_sought,
                matched,
                total,
                principal,
                subject,
                request,
            } => {
                *self = Self {
                    id,
                    filter,
                    is_sought,
                    matched,
                    total,
                    principal,
                    subject,
                    request,
                    created_at: Some(at),
                    updated_at: Some(at),
                    ..Self::default()
                };
            }
            PurgeEvent::ChunkApplied {
                at,
                counts,
                failures: _,
            } => {
                self.counts = self.counts.plus(counts);
                self.status = PurgeStatus::Running;
                self.started_at = self.started_at.or(Some(at));
                self.updated_at = Some(at);
            }
            PurgeEvent::CancelRequested { at } => {
                self.cancel_requested = true;
                self.updated_at = Some(at);
            }
            PurgeEvent::Finished { at, status } => {
                self.status = status;
                self.finished_at = Some(at);
                self.updated_at = Some(at);
            }
            PurgeEvent::Expired { at } => {
                self.subject = Personal::Erased;
                self.request = Personal::Erased;
                self.is_expired = true;
                self.updated_at = Some(at);
            }
        }
    }
}

impl Stream for Purge {
    const KIND: i16 = kind::PURGE;
    const STATE_VERSION: i32 = 1;

    fn claims(&self) -> Vec<Claim> {
        if !self.is_started() || self.status.is_final() {
            return Vec::new();
        }
        let request = self.request.known();
        std::iter::once(Self::open_claim(self.id))
            .chain(request.map(|request| Self::request_claim(request)))
            .collect()
    }

    fn is_closed(&self) -> bool {
        self.is_expired
    }
}
