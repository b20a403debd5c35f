//! The folded state of a project's schema.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definition::as_text;
use super::{Definition, SchemaEvent};
use crate::Timestamp;
use crate::stream::{Stream, kind};

/// The schema of one project as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectSchema {
    /// The version in effect; 0 for the default definition.
    pub version: i32,
    /// The definition in effect.
    #[serde(with = "as_text")]
    pub definition: Definition,
    /// When it took effect; `None` for the default definition.
    pub updated_at: Option<Timestamp>,
    /// The definition that is being prepared or waits to take effect.
    pub pending: Option<Pending>,
}

/// A definition that is not in effect yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The job.
    pub preparation_id: Uuid,
    /// The definition.
    #[serde(with = "as_text")]
    pub definition: Definition,
    /// The fields that are prepared.
    pub fields: Vec<String>,
    /// How far it is.
    pub status: PendingStatus,
}

/// How far a preparation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingStatus {
    /// Values are being read and claimed.
    Running,
    /// The definition can take effect.
    Ready,
    /// There are duplicates, or the job failed.
    Voided,
}

impl ProjectSchema {
    /// The fields that writes must claim although they are not unique yet; empty unless a preparation is alive.
    pub fn pending_unique(&self) -> Vec<String> {
        let Some(pending) = self
            .pending
            .as_ref()
            .filter(|pending| pending.status != PendingStatus::Voided)
        else {
            return Vec::new();
        };
        let is_unique = |name: &String| {
            pending
                .definition
                .field(name)
                .is_some_and(|field| field.unique)
        };
        pending
            .fields
            .iter()
            .filter(|name| is_unique(name))
            .cloned()
            .collect()
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: SchemaEvent) {
        match event {
            SchemaEvent::Replaced {
                at,
                version,
                definition,
                preparation_id: _,
            } => {
                *self = Self {
                    version,
                    definition,
                    updated_at: Some(at),
                    pending: None,
                };
            }
            SchemaEvent::PreparationStarted {
                at: _,
                preparation_id,
                definition,
                fields,
            } => {
                self.pending = Some(Pending {
                    preparation_id,
                    definition,
                    fields,
                    status: PendingStatus::Running,
                });
            }
            SchemaEvent::PreparationVoided { preparation_id, .. } => {
                self.set_status(preparation_id, PendingStatus::Voided);
            }
            SchemaEvent::PreparationEnded {
                at: _,
                preparation_id,
                ready,
            } => {
                let status = if ready {
                    PendingStatus::Ready
                } else {
                    PendingStatus::Voided
                };
                self.set_status(preparation_id, status);
            }
        }
    }

    fn set_status(&mut self, preparation_id: Uuid, status: PendingStatus) {
        if let Some(pending) = self
            .pending
            .as_mut()
            .filter(|pending| pending.preparation_id == preparation_id)
        {
            pending.status = status;
        }
    }
}

impl Stream for ProjectSchema {
    const KIND: i16 = kind::SCHEMA;
    const STATE_VERSION: i32 = 1;
}
