//! The rules of an import.

use super::{Import, ImportCommand, ImportEvent, ImportRefusal};

/// The events that a command causes; none where nothing changes.
pub fn decide(import: &Import, command: &ImportCommand) -> Result<Vec<ImportEvent>, ImportRefusal> {
    match command {
        ImportCommand::Start { .. } if import.is_started() => Err(ImportRefusal::AlreadyStarted),
        ImportCommand::Start {
            body_offset,
            staged_bytes,
            ..
        } if body_offset > staged_bytes => Err(ImportRefusal::OffsetOutOfOrder),
        ImportCommand::Start { .. } => Ok(start(command).into_iter().collect()),
        _ if !import.is_started() || import.is_expired => Err(ImportRefusal::ImportNotFound),
        ImportCommand::ApplyChunk { .. } if import.status.is_final() => {
            Err(ImportRefusal::AlreadyFinished)
        }
        ImportCommand::ApplyChunk { rows, counts, .. } if *rows != counts.total() => {
            Err(ImportRefusal::CountsDisagree)
        }
        ImportCommand::ApplyChunk {
            next_offset, rows, ..
        } if *next_offset > import.staged_bytes
            || *next_offset < import.next_offset
            || (*rows > 0 && *next_offset == import.next_offset) =>
        {
            Err(ImportRefusal::OffsetOutOfOrder)
        }
        ImportCommand::ApplyChunk {
            at,
            next_offset,
            rows,
            counts,
            warnings,
            issues,
        } => Ok(vec![ImportEvent::ChunkApplied {
            at: *at,
            next_offset: *next_offset,
            rows: *rows,
            counts: *counts,
            warnings: *warnings,
            issues: issues.clone(),
        }]),
        ImportCommand::RequestCancel { .. }
            if import.status.is_final() || import.cancel_requested =>
        {
            Ok(Vec::new())
        }
        ImportCommand::RequestCancel { at } => Ok(vec![ImportEvent::CancelRequested { at: *at }]),
        ImportCommand::Finish { status, .. } if !status.is_final() => {
            Err(ImportRefusal::StatusNotFinal)
        }
        // A worker that resumes after a crash may end the import again.
        ImportCommand::Finish { status, .. } if import.status == *status => Ok(Vec::new()),
        ImportCommand::Finish { .. } if import.status.is_final() => {
            Err(ImportRefusal::AlreadyFinished)
        }
        ImportCommand::Finish { at, status, reason } => Ok(vec![ImportEvent::Finished {
            at: *at,
            status: *status,
            reason: reason.clone(),
        }]),
        ImportCommand::Expire { .. } if !import.status.is_final() => {
            Err(ImportRefusal::NotFinished)
        }
        ImportCommand::Expire { at } => Ok(vec![ImportEvent::Expired { at: *at }]),
    }
}

fn start(command: &ImportCommand) -> Option<ImportEvent> {
    let ImportCommand::Start {
        at,
        id,
        provider,
        delimiter,
        on_conflict,
        empty_cells,
        dry_run,
        header,
        body_offset,
        staged_chunks,
        staged_bytes,
    } = command
    else {
        return None;
    };
    Some(ImportEvent::Started {
        at: *at,
        id: *id,
        provider: provider.clone(),
        delimiter: *delimiter,
        on_conflict: *on_conflict,
        empty_cells: *empty_cells,
        dry_run: *dry_run,
        header: header.clone(),
        body_offset: *body_offset,
        staged_chunks: *staged_chunks,
        staged_bytes: *staged_bytes,
    })
}
