//! The folded state of an identity.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::IdentityEvent;
use crate::Personal;
use crate::stream::{Claim, Stream, kind};

/// One connector identity as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The channel, once something is known.
    pub channel: Option<String>,
    /// The external user id; known until it is forgotten.
    pub external_user_id: Personal<String>,
    /// The customers that rules keep apart from it, in their order.
    pub blocked: Vec<Uuid>,
    /// Whether the stream ended.
    pub is_forgotten: bool,
}

impl Identity {
    /// Whether rules keep a customer apart from it.
    pub fn blocks(&self, customer_ref: Uuid) -> bool {
        self.blocked.contains(&customer_ref)
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: IdentityEvent) {
        match event {
            IdentityEvent::Blocked {
                at: _,
                channel,
                external_user_id,
                customer_ref,
            } => {
                self.channel = Some(channel);
                self.external_user_id = external_user_id;
                let place = self.blocked.partition_point(|known| *known < customer_ref);
                self.blocked.insert(place, customer_ref);
            }
            IdentityEvent::Unblocked {
                at: _,
                customer_ref,
            } => self.blocked.retain(|known| *known != customer_ref),
            IdentityEvent::Forgotten { at: _ } => {
                *self = Self {
                    channel: self.channel.take(),
                    is_forgotten: true,
                    ..Self::default()
                };
            }
        }
    }
}

impl Stream for Identity {
    const KIND: i16 = kind::IDENTITY;
    const STATE_VERSION: i32 = 1;

    fn claims(&self) -> Vec<Claim> {
        match (&self.channel, &self.external_user_id) {
            (Some(channel), Personal::Known(id)) => vec![Claim::known_identity(channel, id)],
            _ => Vec::new(),
        }
    }

    fn is_closed(&self) -> bool {
        self.is_forgotten
    }
}
