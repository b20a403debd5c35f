//! A decided command on its way into the log, and what became of it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use roster_domain::event::StoredEvent;
use roster_domain::meta::Meta;
use roster_domain::stream::{Claim, Stream};
use tokio::sync::oneshot;
use tracing::Instrument;
use uuid::Uuid;

use crate::sealing::{About, Part, join};
use crate::streams::{Cached, Loaded, StreamKey, fingerprint_of, snapshot};
use crate::vault::{DataKey, WrappedKey};
use crate::{Cell, Project, StoreError, trace};

/// One command's events, sealed and with all that the append judges and writes.
pub struct Prepared {
    pub(crate) stream: Uuid,
    pub(crate) project_no: i32,
    pub(crate) kind: i16,
    pub(crate) expected: i32,
    pub(crate) events: Vec<PreparedEvent>,
    pub(crate) closes: bool,
    pub(crate) fingerprint: i32,
    pub(crate) new_key: Option<WrappedKey>,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) claims: Vec<ClaimChange>,
    pub(crate) guards: Vec<(Uuid, i32)>,
    pub(crate) answers: Vec<AnswerChange>,
    pub(crate) key: DataKey,
    /// The state that it was decided on, of a stream that existed and goes on.
    pub(crate) before: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) after: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Prepared")
            .field("stream", &self.stream)
            .field("expected", &self.expected)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

pub(crate) struct PreparedEvent {
    pub(crate) type_no: i16,
    pub(crate) type_version: i16,
    pub(crate) meta: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) plain: Arc<Plain>,
}

/// The parts of an event before they were sealed; shared by all who read it from memory.
#[derive(Clone)]
pub(crate) struct Plain {
    pub(crate) open: Vec<u8>,
    pub(crate) personal: Option<Vec<u8>>,
    pub(crate) meta_open: Vec<u8>,
    pub(crate) subject: Option<Vec<u8>>,
}

#[derive(Clone)]
pub(crate) struct ClaimChange {
    pub(crate) claim: Claim,
    pub(crate) key: Vec<u8>,
    pub(crate) take: bool,
}

pub(crate) struct AnswerChange {
    pub(crate) key: [u8; 32],
    /// Sealed.
    pub(crate) answer: Vec<u8>,
    pub(crate) seconds: i32,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the log.
    Accepted {
        /// The stream's version after it.
        version: i32,
        /// The position of its last event.
        position: i64,
    },
    /// The stream is at another version: decide again.
    VersionConflict,
    /// A stream that the decision relied on is at another version: decide again.
    StaleGuard,
    /// Another stream holds a claim.
    ClaimTaken {
        /// Which.
        claim: Claim,
        /// Who.
        holder: Uuid,
    },
    /// The stream ended for ever.
    StreamClosed,
    /// The same request was answered before.
    Replayed {
        /// The first answer.
        answer: Vec<u8>,
        /// The first position of its first command.
        position: i64,
    },
}

/// What became of an all-or-nothing chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkVerdict {
    /// All of it is in the log.
    Accepted {
        /// The position of the last event.
        last_position: i64,
    },
    /// Nothing was written; these commands lost, by their index in the chunk. None where the chunk that it was sent behind was not
    /// written.
    Lost(Vec<(usize, Verdict)>),
}

/// A chunk on its way. It is written even if nobody waits for its verdict.
#[must_use]
pub struct Sent {
    pub(crate) verdict: oneshot::Receiver<Result<ChunkVerdict, StoreError>>,
    /// Set once it is written.
    pub(crate) written: Arc<AtomicBool>,
}

impl Sent {
    /// What became of it.
    pub async fn verdict(self) -> Result<ChunkVerdict, StoreError> {
        let verdict = self.verdict.instrument(trace::append());
        verdict.await.map_err(|_| StoreError::Closed)?
    }
}

impl Prepared {
    /// Names a stream that the decision relied on and the version that it saw.
    #[must_use]
    pub fn guard(mut self, stream: Uuid, version: i32) -> Self {
        self.guards.push((stream, version));
        self
    }

    /// Keeps an answer under a request's key for so many seconds; the same key meanwhile is [`Verdict::Replayed`].
    #[must_use]
    pub fn answer_once(mut self, key: [u8; 32], answer: &[u8], seconds: i32) -> Self {
        let sealed = self
            .key
            .seal(&crate::streams::foreign_part(self.stream, "answer"), answer);
        self.answers.push(AnswerChange {
            key,
            answer: sealed,
            seconds,
        });
        self
    }

    /// The stream that the command is on.
    pub const fn stream(&self) -> Uuid {
        self.stream
    }

    /// The number of events.
    pub const fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no event, which the append refuses.
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes that the append carries for this command, roughly.
    pub fn size(&self) -> usize {
        let events: usize = self
            .events
            .iter()
            .map(|event| event.meta.len() + event.payload.len() + 64)
            .sum();
        events + self.snapshot.as_ref().map_or(0, Vec::len) + self.claims.len() * 40
    }

    pub(crate) fn events_written(&self) -> i64 {
        i64::try_from(self.events.len()).unwrap_or(i64::MAX)
    }

    /// The stream's version once it is written.
    pub(crate) fn version_after(&self) -> i32 {
        self.expected + i32::try_from(self.events.len()).unwrap_or(i32::MAX)
    }

    pub(crate) fn cached(&self) -> Cached {
        Cached {
            version: self.version_after(),
            key: (!self.closes).then(|| self.key.clone()),
            state: Arc::clone(&self.after),
        }
    }
}

impl Cell {
    /// Encodes and seals a decided command: its events, the snapshot after them, and the claims that they take and release.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] where the stream is closed, for a closed stream has no key.
    pub fn prepare<A: Stream + 'static>(
        &self,
        project: &Project,
        before: &Loaded<A>,
        events: Vec<A::Event>,
        meta: &Meta,
    ) -> Result<Prepared, StoreError> {
        let prepared = self.prepare_with_state(project, before, events, meta);
        prepared.map(|(prepared, _)| prepared)
    }

    /// The same, and the state after it.
    ///
    /// # Errors
    /// As [`Cell::prepare`].
    pub fn prepare_with_state<A: Stream + 'static>(
        &self,
        project: &Project,
        before: &Loaded<A>,
        events: Vec<A::Event>,
        meta: &Meta,
    ) -> Result<(Prepared, Arc<A>), StoreError> {
        let (key, new_key) = match &before.key {
            StreamKey::New(key, wrapped) => (key.clone(), Some(wrapped.clone())),
            StreamKey::Known(key) => (key.clone(), None),
            StreamKey::Gone => return Err(StoreError::Malformed("command on a closed stream")),
        };
        let (meta_open, subject) = meta.encode();
        let mut after = A::clone(&before.state);
        let mut version = before.version;
        let mut prepared = Vec::with_capacity(events.len());
        for event in events {
            version += 1;
            let encoded = event.encode();
            let about = |part| About {
                project_no: project.no,
                stream: before.stream,
                version,
                type_no: encoded.type_no,
                type_version: encoded.type_version,
                part,
            };
            let sealed_subject = subject
                .as_ref()
                .map(|plain| about(Part::Subject).seal(&key, plain));
            let sealed = encoded
                .personal
                .as_ref()
                .map(|plain| about(Part::Payload).seal(&key, plain));
            prepared.push(PreparedEvent {
                type_no: encoded.type_no,
                type_version: encoded.type_version,
                meta: join(&meta_open, sealed_subject.as_deref().unwrap_or_default()),
                payload: join(&encoded.open, sealed.as_deref().unwrap_or_default()),
                plain: Arc::new(Plain {
                    open: encoded.open,
                    personal: encoded.personal,
                    meta_open: meta_open.clone(),
                    subject: subject.clone(),
                }),
            });
            after.apply(event);
        }
        let closes = after.is_closed();
        let claims = claim_changes(project, &before.state.claims(), &after.claims());
        let after = Arc::new(after);
        let prepared = Prepared {
            stream: before.stream,
            project_no: project.no,
            kind: A::KIND,
            expected: before.version,
            events: prepared,
            closes,
            fingerprint: fingerprint_of::<A>(),
            new_key,
            snapshot: if closes {
                None
            } else {
                snapshot::<A>(project.no, before.stream, version, &key, &after)
            },
            claims,
            guards: Vec::new(),
            answers: Vec::new(),
            key,
            before: (!before.is_new() && !closes).then(|| Arc::clone(&before.state) as _),
            after: Arc::clone(&after) as _,
        };
        Ok((prepared, after))
    }
}

fn claim_changes(project: &Project, before: &[Claim], after: &[Claim]) -> Vec<ClaimChange> {
    let change = |claim: &Claim, take| ClaimChange {
        claim: claim.clone(),
        key: project.claim_key(claim),
        take,
    };
    let taken = after
        .iter()
        .filter(|claim| !before.contains(claim))
        .map(|claim| change(claim, true));
    let released = before
        .iter()
        .filter(|claim| !after.contains(claim))
        .map(|claim| change(claim, false));
    taken.chain(released).collect()
}
