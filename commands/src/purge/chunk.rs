//! From the next targets to commands that are ready to append.

use std::collections::HashSet;

use roster_domain::customer::Customer;
use roster_domain::meta::Meta;
use roster_domain::purge::{
    FAILURE_PART, FailureDetail, Purge, PurgeCounts, StoredFailure, Target,
};
use roster_store::{Loaded, Prepared, Project};
use uuid::Uuid;

use crate::traces::Traces;
use crate::{CommandError, Directory, NotFound};

/// Why a customer whose record is damaged stays.
const UNREADABLE: &str = "the record of the customer cannot be read";
/// Why a customer stays whom others never leave alone.
const BUSY: &str = "the customer was changed again and again meanwhile";

/// What becomes of some targets.
pub(super) struct Chunk {
    /// The erasures.
    pub(super) commands: Vec<Prepared>,
    /// The ids of those who are erased.
    pub(super) erased: Vec<String>,
    /// What is kept about them elsewhere.
    pub(super) traces: Traces,
    pub(super) counts: PurgeCounts,
    pub(super) failures: Vec<StoredFailure>,
}

/// A customer as the chunk found it.
enum Found {
    /// Never there, or gone.
    Gone,
    Here(Box<Loaded<Customer>>),
    Unreadable,
}

/// Decides targets by their present states.
pub(super) async fn decide(
    directory: &Directory,
    project: &Project,
    purge: &Loaded<Purge>,
    targets: &[Target],
    meta: &Meta,
) -> Result<Chunk, CommandError> {
    let mut chunk = Chunk {
        commands: Vec::with_capacity(targets.len()),
        erased: Vec::with_capacity(targets.len()),
        traces: Traces::default(),
        counts: PurgeCounts::default(),
        failures: Vec::new(),
    };
    let found = find(directory, project, targets).await?;
    let mut streams = HashSet::new();
    for (target, found) in targets.iter().zip(found) {
        match found {
            Found::Gone => chunk.counts.not_found += 1,
            Found::Unreadable => {
                chunk.counts.failed += 1;
                chunk
                    .failures
                    .push(failure(purge, None, target, UNREADABLE));
            }
            Found::Here(customer) => match directory.erasure(project, &customer, false, meta).await
            {
                // Two of them were kept from one identity: the second waits for the next chunk.
                Ok(commands) if commands.iter().any(|own| streams.contains(&own.stream())) => break,
                Ok(commands) => {
                    chunk.counts.deleted += 1;
                    streams.extend(commands.iter().map(Prepared::stream));
                    chunk.commands.extend(commands);
                    chunk.erased.push(target.customer_user_id.clone());
                    chunk.traces.add(customer.state);
                }
                Err(CommandError::NotFound(NotFound::Customer)) => chunk.counts.not_found += 1,
                Err(error) => return Err(error),
            },
        }
    }
    Ok(chunk)
}

/// What becomes of a target that never could be erased because others were always faster.
pub(super) async fn leave(
    directory: &Directory,
    project: &Project,
    purge: &Loaded<Purge>,
    target: &Target,
) -> Result<Chunk, CommandError> {
    let found = find(directory, project, std::slice::from_ref(target)).await?;
    let customer = match found.first() {
        Some(Found::Here(customer)) => Some(customer.as_ref()),
        _ => None,
    };
    Ok(Chunk {
        commands: Vec::new(),
        erased: Vec::new(),
        traces: Traces::default(),
        counts: PurgeCounts {
            failed: 1,
            ..PurgeCounts::default()
        },
        failures: vec![failure(purge, customer, target, BUSY)],
    })
}

/// Seals whom a purge failed on under the customer's key; under the purge's own where that cannot be used.
fn failure(
    purge: &Loaded<Purge>,
    customer: Option<&Loaded<Customer>>,
    target: &Target,
    reason: &str,
) -> StoredFailure {
    let detail = FailureDetail {
        customer_user_id: Some(target.customer_user_id.clone()),
    }
    .encode();
    let sealed =
        customer.and_then(|known| Some((known.stream, known.seal(FAILURE_PART, &detail)?)));
    let (about, detail) = match sealed {
        Some((stream, sealed)) => (Some(stream), sealed),
        None => (None, purge.seal(FAILURE_PART, &detail).unwrap_or_default()),
    };
    StoredFailure {
        about,
        reason: reason.to_owned(),
        detail,
    }
}

/// Loads all targets with one statement; one by one where one of them cannot be read.
async fn find(
    directory: &Directory,
    project: &Project,
    targets: &[Target],
) -> Result<Vec<Found>, CommandError> {
    let streams: Vec<Uuid> = targets.iter().filter_map(|target| target.stream).collect();
    let cell = directory.cell();
    let mut found = match cell.load_many::<Customer>(project, &streams).await {
        Ok(all) => all.into_iter().map(here).collect(),
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(_) => {
            let mut found = Vec::with_capacity(streams.len());
            for stream in streams {
                found.push(match cell.load_fresh(project, stream).await {
                    Ok(customer) => here(customer),
                    Err(error) if error.is_transient() => return Err(error.into()),
                    Err(_) => Found::Unreadable,
                });
            }
            found
        }
    }
    .into_iter();
    let next = |target: &Target| target.stream.and_then(|_| found.next());
    Ok(targets
        .iter()
        .map(next)
        .map(|found| found.unwrap_or(Found::Gone))
        .collect())
}

fn here(customer: Loaded<Customer>) -> Found {
    if customer.state.is_active() {
        Found::Here(Box::new(customer))
    } else {
        Found::Gone
    }
}
