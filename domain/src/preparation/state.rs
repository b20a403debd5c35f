//! The folded state of a preparation.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Outcome, PreparationEvent};
use crate::Timestamp;
use crate::schema::Definition;
use crate::schema::definition::as_text;
use crate::stream::{Claim, Stream, claim_kind, kind};

/// The most duplicates that are kept: enough to start cleaning up.
pub(super) const MOST_DUPLICATES: usize = 100;

/// One preparation as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// The stream of the project's schema.
    pub schema_stream: Uuid,
    /// The definition that is to take effect.
    #[serde(with = "as_text")]
    pub definition: Definition,
    /// The fields that are prepared.
    pub fields: Vec<String>,
    /// How many customers there were at the start.
    pub total: u64,
    /// How many are checked.
    pub checked: u64,
    /// The last claim key that is done; empty at the start.
    pub cursor: Vec<u8>,
    /// The first 100 duplicates.
    pub duplicates: Vec<Duplicate>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// When it started; `None` before.
    pub created_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Two customers with the same value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The field.
    pub field: String,
    /// The customer who could not take the claim.
    pub customer_ref: Uuid,
    /// The customer who holds it.
    pub holder_ref: Uuid,
}

impl Preparation {
    /// Whether the job runs.
    pub const fn is_running(&self) -> bool {
        self.created_at.is_some() && self.outcome.is_none()
    }

    /// How far it is, 0 to 100; 100 only once it ended.
    pub fn progress_pct(&self) -> u8 {
        if self.outcome.is_some() {
            return 100;
        }
        let share = u128::from(self.checked) * 100 / u128::from(self.total.max(1));
        u8::try_from(share.min(99)).unwrap_or(99)
    }

    /// The claim that a running job holds: one preparation a project.
    pub fn open_claim(schema_stream: Uuid) -> Claim {
        Claim {
            kind: claim_kind::OPEN_JOB,
            key: format!("preparation\0{schema_stream}"),
        }
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: PreparationEvent) {
        match event {
            PreparationEvent::Started {
                at,
                schema_stream,
                definition,
                fields,
                total,
            } => {
                *self = Self {
                    schema_stream,
                    definition,
                    fields,
                    total,
                    created_at: Some(at),
                    ..Self::default()
                };
            }
            PreparationEvent::Progressed {
                at: _,
                checked,
                cursor,
            } => {
                self.checked = checked;
                self.cursor = cursor;
            }
            PreparationEvent::DuplicateFound {
                at: _,
                field,
                customer_ref,
                holder_ref,
            } => {
                if self.duplicates.len() < MOST_DUPLICATES {
                    self.duplicates.push(Duplicate {
                        field,
                        customer_ref,
                        holder_ref,
                    });
                }
            }
            PreparationEvent::Finished { at, outcome } => {
                self.outcome = Some(outcome);
                self.finished_at = Some(at);
            }
        }
    }
}

impl Stream for Preparation {
    const KIND: i16 = kind::PREPARATION;
    const STATE_VERSION: i32 = 1;

    fn claims(&self) -> Vec<Claim> {
        if self.is_running() {
            vec![Self::open_claim(self.schema_stream)]
        } else {
            Vec::new()
        }
    }
}
