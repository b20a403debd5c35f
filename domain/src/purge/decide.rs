//! The rules of a purge.

use super::{Purge, PurgeCommand, PurgeEvent, PurgeRefusal, PurgeStatus};

/// The events that a command causes; none where nothing changes.
pub fn decide(purge: &Purge, command: &PurgeCommand) -> Result<Vec<PurgeEvent>, PurgeRefusal> {
    match command {
        PurgeCommand::Start { .. } if purge.is_started() => Err(PurgeRefusal::AlreadyStarted),
        PurgeCommand::Start { matched, total, .. } if total > matched => {
            Err(PurgeRefusal::CountsDisagree)
        }
        PurgeCommand::Start { .. } => Ok(start(command).into_iter().collect()),
        _ if !purge.is_started() || purge.is_expired => Err(PurgeRefusal::PurgeNotFound),
        PurgeCommand::ApplyChunk { .. } if purge.status.is_final() => {
            Err(PurgeRefusal::AlreadyFinished)
        }
        PurgeCommand::ApplyChunk { from, .. } if *from != purge.counts.total() => {
            Err(PurgeRefusal::OutOfOrder)
        }
        PurgeCommand::ApplyChunk {
            counts, failures, ..
        } if counts.total() == 0
            || counts.total() > purge.remaining()
            || failures.is_empty() != (counts.failed == 0)
            || failures.len() as u64 > counts.failed =>
        {
            Err(PurgeRefusal::CountsDisagree)
        }
        PurgeCommand::ApplyChunk {
            at,
            from: _,
            counts,
            failures,
        } => Ok(vec![PurgeEvent::ChunkApplied {
            at: *at,
            counts: *counts,
            failures: failures.clone(),
        }]),
        PurgeCommand::RequestCancel { .. } if purge.status.is_final() || purge.cancel_requested => {
            Ok(Vec::new())
        }
        PurgeCommand::RequestCancel { at } => Ok(vec![PurgeEvent::CancelRequested { at: *at }]),
        PurgeCommand::Finish { status, .. } if !status.is_final() => {
            Err(PurgeRefusal::StatusNotFinal)
        }
        // A worker that resumes after a crash may end the purge again.
        PurgeCommand::Finish { status, .. } if purge.status == *status => Ok(Vec::new()),
        PurgeCommand::Finish { .. } if purge.status.is_final() => {
            Err(PurgeRefusal::AlreadyFinished)
        }
        PurgeCommand::Finish { status, .. }
            if *status != PurgeStatus::Cancelled
                && (purge.remaining() > 0 || *status != purge.completed_status()) =>
        {
            Err(PurgeRefusal::CountsDisagree)
        }
        PurgeCommand::Finish { at, status } => Ok(vec![PurgeEvent::Finished {
            at: *at,
            status: *status,
        }]),
        PurgeCommand::Expire { .. } if !purge.status.is_final() => Err(PurgeRefusal::NotFinished),
        PurgeCommand::Expire { at } => Ok(vec![PurgeEvent::Expired { at: *at }]),
    }
}

fn start(command: &PurgeCommand) -> Option<PurgeEvent> {
    let PurgeCommand::Start {
        at,
        id,
        filter,
        is_sought,
        matched,
        total,
        principal,
        subject,
        request,
    } = command
    else {
        return None;
    };
    Some(PurgeEvent::Started {
        at: *at,
        id: *id,
        filter: filter.clone(),
        is_sought: *is_sought,
        matched: *matched,
        total: *total,
        principal: principal.clone(),
        subject: subject.clone(),
        request: request.clone(),
    })
}
