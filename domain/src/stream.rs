//! What the log needs to know of an aggregate.

use cqrs_es::Aggregate;

use crate::event::StoredEvent;

/// The kinds of stream, as stored in `log_streams.kind`; a number is never reused.
pub mod kind {
    /// One customer of a project.
    pub const CUSTOMER: i16 = 1;
    /// The schema of a project.
    pub const SCHEMA: i16 = 2;
    /// One uniqueness preparation job.
    pub const PREPARATION: i16 = 3;
    /// One CSV import.
    pub const IMPORT: i16 = 4;
    /// One suppressed customer id.
    pub const SUPPRESSION: i16 = 5;
    /// One purge.
    pub const PURGE: i16 = 6;
    /// What everybody may use on one channel.
    pub const CHANNEL_ACCESS: i16 = 7;
    /// One connector identity that is bound to nobody.
    pub const IDENTITY: i16 = 8;
    /// One saved link to an outside source.
    pub const CONNECTION: i16 = 9;
    /// One run of a connection's sync.
    pub const SYNC_RUN: i16 = 10;

    /// Whether streams of a kind are jobs: what they say of themselves keeps nobody waiting.
    pub const fn is_job(kind: i16) -> bool {
        matches!(kind, PREPARATION | IMPORT | PURGE | SYNC_RUN)
    }
}

/// The kinds of claim, as stored in `log_claims.kind`; a number is never reused.
pub mod claim_kind {
    /// A customer id.
    pub const CUSTOMER_ID: i16 = 1;
    /// A value of a unique field: key is the field name, NUL, the canonical value.
    pub const UNIQUE_VALUE: i16 = 2;
    /// A suppressed customer id.
    pub const SUPPRESSED: i16 = 3;
    /// A job that has not ended; key is the word of its kind, NUL, its stream id. Also the request of one, hashed.
    pub const OPEN_JOB: i16 = 4;
    /// A connector identity that is bound to a customer: key is the channel, NUL, the normalised external user id.
    pub const CONNECTOR_IDENTITY: i16 = 5;
    /// The wildcard grant of a channel: key is the channel.
    pub const CHANNEL_ACCESS: i16 = 6;
    /// What is known of a connector identity apart from customers; key as for the binding.
    pub const KNOWN_IDENTITY: i16 = 7;
    /// The name of a connection, without case.
    pub const CONNECTION_NAME: i16 = 8;
    /// A connection that is being synced; key is its stream id. Its unfinished run holds it.
    pub const ACTIVE_RUN: i16 = 9;
}

/// A value that only one stream of a project may hold. The store keeps its keyed hash, never the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// One of [`claim_kind`].
    pub kind: i16,
    /// The canonical text.
    pub key: String,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Claim({}, <personal>)", self.kind)
    }
}

impl Claim {
    /// The claim on a customer id.
    pub fn customer_id(customer_user_id: &str) -> Self {
        Self {
            kind: claim_kind::CUSTOMER_ID,
            key: customer_user_id.into(),
        }
    }

    /// The claim on the canonical value of a unique field.
    pub fn unique_value(field: &str, value: &str) -> Self {
        Self {
            kind: claim_kind::UNIQUE_VALUE,
            key: format!("{field}\0{value}"),
        }
    }

    /// The claim that marks a customer id as suppressed.
    pub fn suppressed(customer_user_id: &str) -> Self {
        Self {
            kind: claim_kind::SUPPRESSED,
            key: customer_user_id.into(),
        }
    }

    /// The claim on a connector identity, whose parts are canonical.
    pub fn connector_identity(channel: &str, external_user_id: &str) -> Self {
        Self {
            kind: claim_kind::CONNECTOR_IDENTITY,
            key: format!("{channel}\0{external_user_id}"),
        }
    }

    /// The claim by which the wildcard grant of a channel is found.
    pub fn channel_access(channel: &str) -> Self {
        Self {
            kind: claim_kind::CHANNEL_ACCESS,
            key: channel.into(),
        }
    }

    /// The claim by which what is known of a connector identity is found.
    pub fn known_identity(channel: &str, external_user_id: &str) -> Self {
        Self {
            kind: claim_kind::KNOWN_IDENTITY,
            ..Self::connector_identity(channel, external_user_id)
        }
    }

    /// The channel of a [`claim_kind::CONNECTOR_IDENTITY`] claim.
    pub fn channel(&self) -> Option<&str> {
        (self.kind == claim_kind::CONNECTOR_IDENTITY)
            .then(|| self.key.split('\0').next())
            .flatten()
    }

    /// The field name of a [`claim_kind::UNIQUE_VALUE`] claim.
    pub fn field(&self) -> Option<&str> {
        (self.kind == claim_kind::UNIQUE_VALUE)
            .then(|| self.key.split('\0').next())
            .flatten()
    }
}

/// What the log relies on of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Everything that it holds exclusively.
    pub claims: Vec<Claim>,
    /// Whether the stream ended for ever.
    pub is_closed: bool,
}

impl Held {
    /// Of a state.
    pub fn of<A: Stream>(state: &A) -> Self {
        Self {
            claims: state.claims(),
            is_closed: state.is_closed(),
        }
    }
}

/// An aggregate whose events the log keeps.
///
/// The claims that a command takes and releases are the difference between the claims of the state before and after it.
pub trait Stream: Aggregate<Event: StoredEvent> + Clone {
    /// One of [`kind`].
    const KIND: i16;

    /// Raised whenever the serialised state changes its shape, so that old snapshots are folded anew.
    const STATE_VERSION: i32;

    /// Everything that this state holds exclusively.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// Whether the stream ended for ever: its claims, snapshot and key go in the same append.
    fn is_closed(&self) -> bool {
        false
    }

    /// What the state of a snapshot's bytes comes to; `None` where they do not have the present shape.
    fn held(snapshot: &[u8]) -> Option<Held> {
        let state: Self = postcard::from_bytes(snapshot).ok()?;
        Some(Held::of(&state))
    }
}
