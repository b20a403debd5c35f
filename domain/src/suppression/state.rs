//! The folded state of a suppression.

use serde::{Deserialize, Serialize};

use super::SuppressionEvent;
use crate::stream::{Claim, Stream, kind};
use crate::{Personal, Timestamp};

/// One suppressed id as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The id; known while it is suppressed.
    pub customer_user_id: Personal<String>,
    /// When it was suppressed.
    pub added_at: Option<Timestamp>,
    /// Whether the suppression ended. The stream is closed then: a new one is another stream.
    pub is_removed: bool,
}

impl Suppression {
    /// Whether the id is suppressed.
    pub const fn is_added(&self) -> bool {
        self.added_at.is_some() && !self.is_removed
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: SuppressionEvent) {
        match event {
            SuppressionEvent::Added {
                at,
                customer_user_id,
            } => {
                *self = Self {
                    customer_user_id,
                    added_at: Some(at),
                    is_removed: false,
                };
            }
            SuppressionEvent::Removed { at: _ } => {
                self.customer_user_id = Personal::Erased;
                self.is_removed = true;
            }
        }
    }
}

impl Stream for Suppression {
    const KIND: i16 = kind::SUPPRESSION;
    const STATE_VERSION: i32 = 1;

    fn claims(&self) -> Vec<Claim> {
        let id = self.customer_user_id.known().filter(|_| self.is_added());
        id.map(|id| Claim::suppressed(id)).into_iter().collect()
    }

    fn is_closed(&self) -> bool {
        self.is_removed
    }
}
