//! Load, decide, prepare, append, verdict: how a command on a single stream is carried out.

use std::sync::Arc;

use roster_domain::meta::Meta;
use roster_domain::stream::Stream;
use roster_store::{Project, Verdict};
use uuid::Uuid;

use crate::{Applied, CommandError, Directory};

/// How often a command is decided before a caller hears of lost races: once, and three times again.
pub(crate) const DECISIONS: usize = 4;

impl Directory {
    /// Carries out a command and answers the state after it. A lost race is decided again on the fresh state.
    ///
    /// # Errors
    /// What `decide` answers; [`CommandError::VersionConflict`] after the last lost race.
    pub(crate) async fn execute<A: Stream + 'static>(
        &self,
        project: &Project,
        stream: Uuid,
        meta: &Meta,
        decide: impl Fn(&A) -> Result<Vec<A::Event>, CommandError> + Send,
    ) -> Result<Applied<A>, CommandError> {
        for _ in 0..DECISIONS {
            let mut before = self.cell().load::<A>(project, stream).await?;
            let mut decided = decide(&before.state);
            // An append would notice a stale memory; a refusal or "nothing changed" must ask the log first.
            if before.from_cache && decided.as_ref().map_or(true, Vec::is_empty) {
                before = self.cell().load_fresh::<A>(project, stream).await?;
                decided = decide(&before.state);
            }
            let events = decided?;
            if events.is_empty() {
                return Ok(Applied::unchanged(before.into_state()));
            }
            let prepared = self
                .cell()
                .prepare_with_state(project, &before, events, meta);
            let (prepared, after) = prepared?;
            if let Verdict::Accepted { position, .. } = self.cell().append(prepared).await? {
                return Ok(Applied::at(Arc::unwrap_or_clone(after), position));
            }
        }
        Err(CommandError::VersionConflict {
            current: self.cell().load::<A>(project, stream).await?.version,
        })
    }
}

/// The state after events that are not in the log yet.
pub(crate) fn folded<A: Stream>(state: &A, events: &[A::Event]) -> A {
    let mut state = state.clone();
    for event in events {
        state.apply(event.clone());
    }
    state
}
