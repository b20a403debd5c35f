//! The rules of a run.

use super::{Removals, SyncRun, SyncRunCommand, SyncRunEvent, SyncRunRefusal};
use crate::Personal;

/// The events that a command causes; none where nothing changes.
pub fn decide(
    run: &SyncRun,
    command: &SyncRunCommand,
) -> Result<Vec<SyncRunEvent>, SyncRunRefusal> {
    match command {
        SyncRunCommand::Queue { .. } if run.is_queued() => Err(SyncRunRefusal::AlreadyQueued),
        SyncRunCommand::Queue {
            at,
            id,
            connection_id,
            trigger,
            is_full,
            dry_run,
            confirms_deletes,
            principal,
            subject,
        } => Ok(vec![SyncRunEvent::Queued {
            at: *at,
            id: *id,
            connection_id: *connection_id,
            trigger: *trigger,
            is_full: *is_full,
            dry_run: *dry_run,
            confirms_deletes: *confirms_deletes,
            principal: principal.clone(),
            subject: subject.clone(),
        }]),
        _ if !run.is_queued() || run.is_expired => Err(SyncRunRefusal::RunNotFound),
        SyncRunCommand::Expire { .. } if !run.status.is_final() => Err(SyncRunRefusal::NotFinished),
        SyncRunCommand::Expire { at } => Ok(vec![SyncRunEvent::Expired { at: *at }]),
        SyncRunCommand::Finish { status, .. } if !status.is_final() => {
            Err(SyncRunRefusal::StatusNotFinal)
        }
        // A worker that resumes after a crash may end the run again.
        SyncRunCommand::Finish { status, .. } if run.status == *status => Ok(Vec::new()),
        SyncRunCommand::RequestCancel { .. } | SyncRunCommand::Interrupt { .. }
            if run.status.is_final() =>
        {
            Ok(Vec::new())
        }
        _ if run.status.is_final() => Err(SyncRunRefusal::AlreadyFinished),
        SyncRunCommand::Start { .. } | SyncRunCommand::Continue { .. }
            if run.started_at.is_some() =>
        {
            Err(SyncRunRefusal::OutOfOrder)
        }
        SyncRunCommand::Continue { at, place } => Ok(vec![SyncRunEvent::WalkContinued {
            at: *at,
            place: Personal::new(place.clone()),
        }]),
        SyncRunCommand::Start {
            at,
            cursor,
            rows_before,
        } => Ok(vec![SyncRunEvent::Started {
            at: *at,
            is_full: cursor.is_none(),
            cursor: Personal::new(cursor.clone()),
            rows_before: *rows_before,
        }]),
        SyncRunCommand::ApplyPage { .. } | SyncRunCommand::RestartWalk { .. }
            if run.started_at.is_none() || run.is_walked =>
        {
            Err(SyncRunRefusal::OutOfOrder)
        }
        SyncRunCommand::ApplyPage { page, .. } if !page.removals.adds_up() => {
            Err(SyncRunRefusal::CountsDisagree)
        }
        SyncRunCommand::ApplyPage { at, page } => Ok(vec![SyncRunEvent::PageApplied {
            at: *at,
            page: page.clone(),
        }]),
        SyncRunCommand::ApplyRemovals { .. } if !run.is_walked => Err(SyncRunRefusal::OutOfOrder),
        SyncRunCommand::ApplyRemovals { removals, .. } if !removals.adds_up() => {
            Err(SyncRunRefusal::CountsDisagree)
        }
        SyncRunCommand::ApplyRemovals { removals, .. } if *removals == Removals::default() => {
            Ok(Vec::new())
        }
        SyncRunCommand::ApplyRemovals { at, removals } => Ok(vec![SyncRunEvent::RemovalsApplied {
            at: *at,
            removals: *removals,
        }]),
        SyncRunCommand::RestartWalk { at, forgets_cursor } => {
            Ok(vec![SyncRunEvent::WalkRestarted {
                at: *at,
                forgets_cursor: *forgets_cursor,
            }])
        }
        SyncRunCommand::Interrupt { at } => Ok(vec![SyncRunEvent::Interrupted { at: *at }]),
        SyncRunCommand::RequestCancel { .. } if run.cancel_requested => Ok(Vec::new()),
        SyncRunCommand::RequestCancel { at } => Ok(vec![SyncRunEvent::CancelRequested { at: *at }]),
        SyncRunCommand::Finish {
            at,
            status,
            code,
            message,
            retry_at,
        } => Ok(vec![SyncRunEvent::Finished {
            at: *at,
            status: *status,
            code: code.clone(),
            message: Personal::new(message.clone()),
            retry_at: *retry_at,
        }]),
    }
}
