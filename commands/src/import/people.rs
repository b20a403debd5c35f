//! The people whom the rows of a batch, or the records of a page, name: what is asked for them is decided, and made ready to append.

use std::collections::{HashMap, HashSet};

use roster_domain::customer::{Customer, CustomerEvent};
use roster_domain::meta::Meta;
use roster_domain::stream::{Claim, claim_kind};
use roster_store::{Cell, Loaded, Prepared, Project};
use uuid::Uuid;

use super::decide::{Finding, Outcome, Person, Rules, decide};
use super::meaning::Meaning;
use crate::{CommandError, Directory};

/// Some people, each at their place.
#[derive(Default)]
pub(crate) struct People {
    pub(crate) loaded: Vec<Option<Loaded<Customer>>>,
    pub(crate) streams: Vec<Uuid>,
    pub(crate) suppressed: Vec<bool>,
}

/// What deciding the rows of a batch, or the records of a page, comes to.
pub(crate) enum Decided<T> {
    /// A pending unique field has a duplicate: decide without it.
    Void(String),
    /// These values are new to whom they are given, and it was not asked yet who has them.
    LookUp(Vec<Claim>),
    All(T),
}

impl<T> Decided<T> {
    /// What is made of it all.
    pub(crate) fn try_map<U, E>(
        self,
        make: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<Decided<U>, E> {
        Ok(match self {
            Self::Void(field) => Decided::Void(field),
            Self::LookUp(claims) => Decided::LookUp(claims),
            Self::All(all) => Decided::All(make(all)?),
        })
    }
}

/// The events of each person, and what else was found.
type Events = (Vec<Vec<CustomerEvent>>, Outcome);

/// What some events write.
#[derive(Default)]
pub(crate) struct Written {
    /// Ready to append.
    pub(crate) commands: Vec<Prepared>,
    /// The streams that some of them begin.
    pub(crate) begun: Vec<Uuid>,
    /// Those of them whom a finding is about, by their places.
    found: HashMap<usize, Loaded<Customer>>,
}

impl People {
    /// The streams of those who are there.
    pub(crate) fn known(&self) -> Vec<Uuid> {
        let there = self.loaded.iter().flatten();
        there.map(|known| known.stream).collect()
    }

    /// Loads everybody with one statement. Suppressions are asked after that: a person who is erased and suppressed
    /// meanwhile is then found suppressed.
    pub(crate) async fn find(
        directory: &Directory,
        project: &Project,
        ids: &[String],
    ) -> Result<Self, CommandError> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let cell = directory.cell();
        let claims: Vec<Claim> = ids.iter().map(|id| Claim::customer_id(id)).collect();
        let loaded = cell
            .load_holders::<Customer>(project, claim_kind::CUSTOMER_ID, &claims)
            .await?;
        let suppressed = if cell
            .count_claims(project, claim_kind::SUPPRESSED, 1)
            .await?
            > 0
        {
            let claims: Vec<Claim> = ids.iter().map(|id| Claim::suppressed(id)).collect();
            let holders = cell
                .holders(project, claim_kind::SUPPRESSED, &claims)
                .await?;
            holders.iter().map(Option::is_some).collect()
        } else {
            vec![false; ids.len()]
        };
        let streams = loaded
            .iter()
            .map(|loaded| {
                loaded
                    .as_ref()
                    .map_or_else(|| directory.new_id(), |loaded| loaded.stream)
            })
            .collect();
        Ok(Self {
            loaded,
            streams,
            suppressed,
        })
    }

    /// Decides what is asked for these people. It stops where somebody had a value that is new to them for some rows only, and with
    /// `looks_up` also where somebody keeps one.
    pub(crate) fn decide(
        &self,
        rules: &Rules,
        meanings: &mut [Meaning],
        person_of: &[Option<usize>],
        looks_up: bool,
    ) -> Decided<Events> {
        let absent = Customer::default();
        let mut people: Vec<Person<'_>> = self
            .loaded
            .iter()
            .zip(&self.streams)
            .zip(&self.suppressed)
            .map(|((loaded, stream), is_suppressed)| {
                let base = loaded.as_ref().map_or(&absent, |loaded| &loaded.state);
                Person::new(*stream, base, *is_suppressed)
            })
            .collect();
        let outcome = decide(rules, meanings, person_of, &mut people);
        if let Some(field) = outcome.void {
            return Decided::Void(field);
        }
        let changed = people.iter().filter(|person| !person.events.is_empty());
        let kept = changed.filter(|_| looks_up).flat_map(Person::new_claims);
        let claims: Vec<Claim> = outcome
            .passing
            .iter()
            .cloned()
            .chain(kept)
            .filter(|claim| !rules.asked.contains(claim))
            .collect();
        if !claims.is_empty() {
            return Decided::LookUp(claims);
        }
        let events = people.into_iter().map(|person| person.events).collect();
        Decided::All((events, outcome))
    }

    /// Prepares the events of each person.
    pub(crate) fn prepare(
        &self,
        cell: &Cell,
        project: &Project,
        meta: &Meta,
        events: Vec<Vec<CustomerEvent>>,
        outcome: &Outcome,
    ) -> Result<Written, CommandError> {
        let findings = outcome.findings.iter();
        let named: HashSet<usize> = findings.filter_map(|finding| finding.person).collect();
        let mut written = Written::default();
        for (place, events) in events.into_iter().enumerate() {
            if events.is_empty() {
                continue;
            }
            if let Some(before) = &self.loaded[place] {
                let command = cell.prepare(project, before, events, meta)?;
                written.commands.push(command);
                continue;
            }
            let before = cell.new_stream::<Customer>(self.streams[place]);
            let command = cell.prepare(project, &before, events, meta)?;
            written.commands.push(command);
            written.begun.push(before.stream);
            if named.contains(&place) {
                written.found.insert(place, before);
            }
        }
        Ok(written)
    }

    /// Whom a finding is about, if that is somebody who is there or begins to be.
    pub(crate) fn person<'a>(
        &'a self,
        written: &'a Written,
        finding: &Finding,
    ) -> Option<&'a Loaded<Customer>> {
        let place = finding.person?;
        let known = self.loaded[place].as_ref();
        known.or_else(|| written.found.get(&place))
    }
}

/// What was decided in the end.
pub(crate) struct Settled<T> {
    pub(crate) all: T,
    /// A pending unique field of which there is a duplicate.
    pub(crate) voided: Option<String>,
    /// Those who hold what somebody was to get.
    pub(crate) holders: Vec<Uuid>,
}

/// Decides in threads until nothing is in the way: without a pending unique field of which there is a duplicate, and by who holds the
/// values that are new to somebody. `run` waits for nothing.
pub(crate) async fn settle<T: Send + 'static>(
    directory: &Directory,
    project: &Project,
    mut rules: Rules,
    mut run: impl FnMut(&Rules) -> Result<Decided<T>, CommandError> + Send + 'static,
) -> Result<Settled<T>, CommandError> {
    let mut voided = None;
    loop {
        let ran = tokio::task::spawn_blocking(move || {
            let decided = run(&rules);
            (run, rules, decided)
        });
        let decided;
        (run, rules, decided) = ran.await.map_err(|_| {
            CommandError::internal("what is asked for customers could not be decided")
        })?;
        match decided? {
            Decided::Void(field) => {
                rules.pending = None;
                voided = Some(field);
            }
            Decided::LookUp(claims) => {
                let held = holders(directory, project, &claims).await?;
                rules.taken.extend(held);
                rules.asked.extend(claims);
            }
            Decided::All(all) => {
                return Ok(Settled {
                    all,
                    voided,
                    holders: rules.taken.into_values().collect(),
                });
            }
        }
    }
}

/// Who holds which of some values and identities.
async fn holders(
    directory: &Directory,
    project: &Project,
    claims: &[Claim],
) -> Result<HashMap<Claim, Uuid>, CommandError> {
    let mut all = HashMap::new();
    for kind in [claim_kind::UNIQUE_VALUE, claim_kind::CONNECTOR_IDENTITY] {
        let of_kind = claims.iter().filter(|claim| claim.kind == kind);
        let of_kind: Vec<Claim> = of_kind.cloned().collect();
        if of_kind.is_empty() {
            continue;
        }
        let holders = directory.cell().holders(project, kind, &of_kind).await?;
        let held = of_kind.into_iter().zip(holders);
        all.extend(held.filter_map(|(claim, holder)| Some((claim, holder?))));
    }
    Ok(all)
}
