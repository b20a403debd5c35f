//! The rules of a connection.

use super::{Connection, ConnectionCommand, ConnectionEvent, ConnectionRefusal, Settings};
use crate::Personal;

/// The events that a command causes; none where nothing changes.
pub fn decide(
    connection: &Connection,
    command: &ConnectionCommand,
) -> Result<Vec<ConnectionEvent>, ConnectionRefusal> {
    match command {
        ConnectionCommand::Save {
            expected_version, ..
        } if expected_version.is_some_and(|expected| expected != connection.version) => {
            Err(ConnectionRefusal::VersionConflict {
                current: connection.version,
            })
        }
        ConnectionCommand::Save {
            at, id, settings, ..
        } if !connection.is_there() && !connection.is_deleted => Ok(vec![ConnectionEvent::Saved {
            at: *at,
            id: *id,
            settings: settings.clone(),
            clears_cursor: false,
        }]),
        _ if !connection.is_there() => Err(ConnectionRefusal::ConnectionNotFound),
        ConnectionCommand::Save { settings, .. }
            if settings.provider != connection.settings.provider =>
        {
            Err(ConnectionRefusal::ProviderFixed)
        }
        ConnectionCommand::Save { settings, .. }
            if **settings == connection.settings && connection.paused_reason.is_none() =>
        {
            Ok(Vec::new())
        }
        ConnectionCommand::Save {
            at, id, settings, ..
        } => Ok(vec![ConnectionEvent::Saved {
            at: *at,
            id: *id,
            settings: settings.clone(),
            clears_cursor: reads_otherwise(&connection.settings, settings),
        }]),
        ConnectionCommand::NoteQueued { .. } | ConnectionCommand::Delete { .. }
            if connection.active_run.is_some() =>
        {
            let run_id = connection.active_run.unwrap_or_default();
            Err(ConnectionRefusal::RunInProgress { run_id })
        }
        ConnectionCommand::NoteQueued {
            at,
            run_id,
            trigger,
            is_full,
        } => Ok(vec![ConnectionEvent::RunQueued {
            at: *at,
            run_id: *run_id,
            trigger: *trigger,
            is_full: *is_full,
        }]),
        ConnectionCommand::MoveCursor { at, cursor } => {
            let has = connection.cursor.known().and_then(Option::as_deref);
            if has == Some(cursor.as_str()) {
                return Ok(Vec::new());
            }
            Ok(vec![ConnectionEvent::CursorMoved {
                at: *at,
                cursor: Personal::new(cursor.clone()),
            }])
        }
        ConnectionCommand::NoteFinished { run_id, .. }
            if connection.active_run != Some(*run_id) =>
        {
            Ok(Vec::new())
        }
        ConnectionCommand::NoteFinished {
            at,
            run_id,
            status,
            code,
            retry_at,
            clears_cursor,
        } => Ok(vec![ConnectionEvent::RunFinished {
            at: *at,
            run_id: *run_id,
            status: *status,
            code: code.clone(),
            retry_at: *retry_at,
            clears_cursor: *clears_cursor,
        }]),
        ConnectionCommand::Delete { at } => Ok(vec![ConnectionEvent::Deleted { at: *at }]),
    }
}

/// Whether the source is read in another way, so that what is known of its changes no longer counts.
fn reads_otherwise(before: &Settings, after: &Settings) -> bool {
    match (before.setup.known(), after.setup.known()) {
        (Some(before), Some(after)) => {
            before.config != after.config || before.mapping != after.mapping
        }
        _ => true,
    }
}
