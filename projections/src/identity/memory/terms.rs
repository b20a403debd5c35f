//! Grants with the same terms are kept once.

use std::collections::HashMap;
use std::sync::Arc;

use roster_domain::access::Terms;

use super::slots::Granted;

/// Terms that nobody has are looked for when there are this many.
const FIRST_SWEEP: usize = 1_024;

/// Every terms that somebody has.
pub(super) struct Kept {
    known: HashMap<(Vec<String>, bool, Option<i64>), Arc<Granted>>,
    sweep_at: usize,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            sweep_at: FIRST_SWEEP,
        }
    }

    pub(super) fn of(&mut self, terms: &Terms) -> Arc<Granted> {
        let key = (
            terms.agents.clone(),
            terms.enabled,
            terms.expires_at.map(|at| at.0),
        );
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known
                .retain(|_, granted| Arc::strong_count(granted) > 1);
            self.sweep_at = FIRST_SWEEP.max(self.known.len() * 2);
        }
        let granted = Arc::new(Granted {
            terms: terms.clone(),
            agents: terms.agents.as_slice().into(),
        });
        self.known.insert(key, Arc::clone(&granted));
        granted
    }
}
