//! Keeping whom a purge is of, and what they were sought by, until it ends.
//!
//! Both are sealed under the purge's own key and committed before the purge exists. A kill between the two leaves pieces
//! that nobody can open, which the jobs sweep.

use roster_domain::purge::{Purge, SOUGHT_PART, Sought, TARGETS_PART, Targets};
use roster_store::{Cell, Loaded};

use crate::{CommandError, staged};

/// The piece with what was sought.
const SOUGHT: i32 = 0;
/// The piece with the targets.
const TARGETS: i32 = 1;

pub(super) async fn stage(
    cell: &Cell,
    purge: &Loaded<Purge>,
    sought: &Sought,
    targets: &Targets,
) -> Result<(), CommandError> {
    let seal = |part, plain: &[u8]| {
        let sealed = purge.seal(part, plain);
        sealed.ok_or(CommandError::internal("a purge could not be sealed"))
    };
    let mut transaction = cell.pool().begin().await?;
    for (no, sealed) in [
        (SOUGHT, seal(SOUGHT_PART, &sought.encode())?),
        (TARGETS, seal(TARGETS_PART, &targets.encode())?),
    ] {
        staged::insert(&mut transaction, purge.stream, no, i64::from(no), &sealed).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Whom a purge is of; `None` where that was lost.
pub(super) async fn targets(
    cell: &Cell,
    purge: &Loaded<Purge>,
) -> Result<Option<Targets>, CommandError> {
    let Some(sealed) = staged::piece(cell, purge.stream, TARGETS).await? else {
        return Ok(None);
    };
    match cell.open_for(purge.stream, TARGETS_PART, &sealed).await {
        Ok(plain) => Ok(plain
            .and_then(|plain| Targets::decode(&plain))
            .filter(|targets| targets.0.len() as u64 == purge.state.total)),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(_) => Ok(None),
    }
}
