//! Grants with the same terms are kept once, under a number that records have.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use roster_domain::access::Terms;

use super::record::NO_GRANT;

/// A grant, shared by all who have the same terms.
pub(super) struct Granted {
    pub(super) terms: Terms,
    pub(super) agents: Arc<[String]>,
}

/// Every terms that somebody has, by number.
#[derive(Default)]
pub(super) struct Grants(RwLock<Numbered>);

#[derive(Default)]
pub(super) struct Numbered(Vec<Option<Arc<Granted>>>);

/// Which numbers are taken, and by how many. Only the one who writes has it.
#[derive(Default)]
pub(super) struct Taken {
    known: HashMap<Known, u32>,
    /// How many have it, by number from 1.
    counts: Vec<usize>,
    free: Vec<u32>,
}

type Known = (Vec<String>, bool, Option<i64>);

impl Granted {
    pub(super) fn of(terms: &Terms) -> Arc<Self> {
        Arc::new(Self {
            terms: terms.clone(),
            agents: terms.agents.as_slice().into(),
        })
    }
}

impl Grants {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Numbered> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Numbered> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbered {
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Granted>> {
        let place = (number as usize).checked_sub(1)?;
        self.0.get(place)?.as_ref()
    }
}

impl Taken {
    /// The number of terms that one more has.
    pub(super) fn take(&mut self, grants: &Grants, terms: &Terms) -> u32 {
        let number = match self.known.get(&known(terms)) {
            Some(number) => *number,
            None => self.add(grants, terms),
        };
        if let Some(count) = self.count(number) {
            *count += 1;
        }
        number
    }

    /// One less has the terms of a number.
    pub(super) fn give_back(&mut self, grants: &Grants, number: u32) {
        let Some(count) = self.count(number) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        let place = number as usize - 1;
        if let Some(granted) = grants.write().0[place].take() {
            self.known.remove(&known(&granted.terms));
            self.free.push(number);
        }
    }

    pub(super) fn clear(&mut self, grants: &Grants) {
        *self = Self::default();
        grants.write().0.clear();
    }

    fn add(&mut self, grants: &Grants, terms: &Terms) -> u32 {
        let granted = Some(Granted::of(terms));
        let mut numbered = grants.write();
        let number = self.free.pop().unwrap_or_else(|| {
            numbered.0.push(None);
            self.counts.push(0);
            u32::try_from(self.counts.len()).unwrap_or(NO_GRANT)
        });
        if let Some(place) = (number as usize).checked_sub(1) {
            numbered.0[place] = granted;
        }
        self.known.insert(known(terms), number);
        number
    }

    fn count(&mut self, number: u32) -> Option<&mut usize> {
        self.counts.get_mut((number as usize).checked_sub(1)?)
    }
}

fn known(terms: &Terms) -> Known {
    (
        terms.agents.clone(),
        terms.enabled,
        terms.expires_at.map(|at| at.0),
    )
}

#[cfg(test)]
mod tests {
    use roster_domain::access::Terms;

    use super::{Grants, Taken};

    #[test]
    fn terms_are_kept_once_and_only_while_somebody_has_them() {
        let terms = |agent: &str| Terms {
            agents: vec![agent.into()],
            enabled: true,
            expires_at: None,
        };
        let (grants, mut taken) = (Grants::default(), Taken::default());
        let sales = taken.take(&grants, &terms("sales"));
        assert_eq!(taken.take(&grants, &terms("sales")), sales);
        let support = taken.take(&grants, &terms("support"));
        assert_ne!(support, sales);
        taken.give_back(&grants, sales);
        assert!(
            grants
                .read()
                .get(sales)
                .is_some_and(|granted| granted.terms == terms("sales"))
        );
        taken.give_back(&grants, sales);
        assert!(grants.read().get(sales).is_none());
        assert_eq!(taken.take(&grants, &terms("billing")), sales);
        assert!(
            grants
                .read()
                .get(support)
                .is_some_and(|granted| granted.terms == terms("support"))
        );
    }
}
