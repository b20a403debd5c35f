//! The folded state of a connection.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ConnectionEvent, Settings};
use crate::stream::{Claim, Stream, claim_kind, kind};
use crate::sync_run::{RunStatus, Trigger};
use crate::{Personal, Timestamp};

/// Runs that fail in a row until the schedule pauses.
pub const PAUSE_AFTER: u32 = 3;

/// What precedes the id of a connection.
const PREFIX: &str = "dconn_";

/// The public id of a connection.
pub fn id_text(id: Uuid) -> String {
    format!("{PREFIX}{}", id.simple())
}

/// The stream of a public id.
pub fn parse_id(text: &str) -> Option<Uuid> {
    text.strip_prefix(PREFIX)
        .and_then(|hex| Uuid::try_parse(hex).ok())
}

/// One connection as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The connection's own id: that of its stream.
    pub id: Uuid,
    /// What is settled.
    pub settings: Settings,
    /// How often it was settled.
    pub version: i32,
    /// From where on changes are asked for, as JSON text; `None` asks for everything.
    pub cursor: Personal<Option<String>>,
    /// The run that goes on.
    pub active_run: Option<Uuid>,
    /// The last run that was queued.
    pub last_run: Option<Uuid>,
    /// How the last run ended.
    pub last_status: Option<RunStatus>,
    /// Runs that failed since one did not.
    pub failures: u32,
    /// Why the schedule pauses, as a stable word.
    pub paused_reason: Option<String>,
    /// From when on the schedule is looked at.
    pub scheduled_since: Timestamp,
    /// From when on the schedule of full runs is looked at.
    pub full_since: Timestamp,
    /// Before this the source answers nothing.
    pub retry_at: Option<Timestamp>,
    /// When it was first saved.
    pub created_at: Option<Timestamp>,
    /// When it was last settled.
    pub updated_at: Timestamp,
    /// Whether it was deleted.
    pub is_deleted: bool,
}

impl Connection {
    /// Whether there is such a connection.
    pub const fn is_there(&self) -> bool {
        self.created_at.is_some() && !self.is_deleted
    }

    /// The public id.
    pub fn id_text(&self) -> String {
        id_text(self.id)
    }

    /// Whether its schedules count now.
    pub const fn is_scheduled(&self) -> bool {
        self.is_there() && self.settings.is_scheduled() && self.paused_reason.is_none()
    }

    /// The claim on a name.
    pub fn name_claim(name: &str) -> Claim {
        Claim {
            kind: claim_kind::CONNECTION_NAME,
            key: name.trim().to_lowercase(),
        }
    }

    /// The state after one more event.
    pub fn fold(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Saved {
                at,
                id,
                settings,
                clears_cursor,
            } => {
                let is_new = self.created_at.is_none();
                if is_new || self.settings.schedule != settings.schedule {
                    self.scheduled_since = at;
                }
                if is_new || self.settings.full_schedule != settings.full_schedule {
                    self.full_since = at;
                }
                if is_new || clears_cursor {
                    self.cursor = Personal::Known(None);
                }
                self.id = id;
                self.settings = *settings;
                self.version += 1;
                self.failures = 0;
                self.paused_reason = None;
                self.created_at = self.created_at.or(Some(at));
                self.updated_at = at;
            }
            ConnectionEvent::RunQueued {
                at,
                run_id,
                trigger,
                is_full,
            } => {
                self.active_run = Some(run_id);
                self.last_run = Some(run_id);
                self.last_status = None;
                self.retry_at = None;
                if trigger == Trigger::Schedule {
                    self.scheduled_since = at;
                    if is_full {
                        self.full_since = at;
                    }
                }
            }
            ConnectionEvent::CursorMoved { at: _, cursor } => {
                self.cursor = match cursor {
                    Personal::Known(cursor) => Personal::Known(Some(cursor)),
                    Personal::Erased => Personal::Erased,
                };
            }
            ConnectionEvent::RunFinished {
                at: _,
                run_id: _,
                status,
                code,
                retry_at,
                clears_cursor,
            } => {
                self.active_run = None;
                self.last_status = Some(status);
                self.retry_at = retry_at;
                if clears_cursor {
                    self.cursor = Personal::Known(None);
                }
                self.count(status, code);
            }
            ConnectionEvent::Deleted { at } => {
                *self = Self {
                    id: self.id,
                    version: self.version,
                    created_at: self.created_at,
                    updated_at: at,
                    is_deleted: true,
                    ..Self::default()
                };
            }
        }
    }

    /// A run that a person stopped, or that waits for a quota, tells nothing of the next one.
    fn count(&mut self, status: RunStatus, code: Option<String>) {
        match status {
            RunStatus::Failed => {
                self.failures += 1;
                let is_refused = code.as_deref() == Some("auth_failed");
                if is_refused || self.failures >= PAUSE_AFTER {
                    let reason = if is_refused { code } else { None };
                    self.paused_reason =
                        Some(reason.unwrap_or_else(|| "failed_three_times".to_owned()));
                }
            }
            RunStatus::Succeeded | RunStatus::CompletedWithErrors => {
                self.failures = 0;
                self.paused_reason = None;
            }
            _ => {}
        }
    }
}

impl Stream for Connection {
    const KIND: i16 = kind::CONNECTION;
    const STATE_VERSION: i32 = 1;

    fn claims(&self) -> Vec<Claim> {
        if !self.is_there() {
            return Vec::new();
        }
        let mut claims = vec![Self::name_claim(&self.settings.name)];
        if self.is_scheduled() {
            // That is how the jobs find schedules.
            claims.push(Claim {
                kind: claim_kind::OPEN_JOB,
                key: format!("schedule\0{}", self.id),
            });
        }
        claims
    }

    fn is_closed(&self) -> bool {
        self.is_deleted
    }
}
