//! What some records come to, in a thread of its own: nothing in it waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roster_domain::customer::CustomerEvent;
use roster_domain::import::Severity;
use uuid::Uuid;

use super::page::{Desk, Named, Worked};
use super::recall::Said;
use super::source::Record;
use crate::CommandError;
use crate::import::decide::{Outcome, Rules};
use crate::import::issues::issue;
use crate::import::meaning::Meaning;
use crate::import::people::{Decided, People, Written};
use crate::known::{Finding, short};

/// What a decision is made of.
pub(super) struct Task {
    pub(super) desk: Arc<Desk>,
    pub(super) records: Arc<Vec<Record>>,
    /// How many records of the run came before.
    pub(super) before: u64,
    pub(super) said: Said,
    pub(super) named: Named,
    /// What stands for the record by which each person is found.
    pub(super) owners: HashMap<usize, i64>,
    pub(super) people: People,
}

impl Task {
    pub(super) fn run(
        &mut self,
        rules: &Rules,
        looks_up: bool,
    ) -> Result<Decided<Box<Worked>>, CommandError> {
        let named = &mut self.named;
        let (meanings, person_of) = (&mut named.meanings, &named.person_of);
        let decided = self.people.decide(rules, meanings, person_of, looks_up);
        decided.try_map(|(events, outcome)| self.finish(rules, events, &outcome).map(Box::new))
    }

    fn finish(
        &self,
        rules: &Rules,
        events: Vec<Vec<CustomerEvent>>,
        outcome: &Outcome,
    ) -> Result<Worked, CommandError> {
        let desk = &self.desk;
        let (findings, failed) = self.findings(rules, &events, outcome);
        let written = if desk.run.state.dry_run {
            Written::default()
        } else {
            let cell = desk.directory.cell();
            self.people
                .prepare(cell, &desk.project, &desk.meta, events, outcome)?
        };
        let issues = outcome.findings.iter().map(|finding| {
            let id = finding
                .person
                .and_then(|person| self.named.ids.get(person))
                .map(String::as_str);
            let place = self.named.places[finding.index];
            let record = &self.records[place];
            let text = serde_json::to_string(&record.fields).unwrap_or_default();
            let cells = [record.id.as_str(), text.as_str()];
            let number = self.before + place as u64 + 1;
            let person = self.people.person(&written, finding);
            issue(&desk.run, finding, number, cells.into_iter(), id, person)
        });
        let issues = issues.collect();
        Ok(Worked {
            void: None,
            counts: outcome.counts,
            warnings: outcome.warnings,
            issues,
            marked: 0,
            findings,
            failed,
            new: written.begun,
            known: self.people.known(),
            schema_version: 0,
            commands: written.commands,
        })
    }

    /// Who a walk through everything finds, with what is to be known of them, and what stands for records that could not be
    /// applied.
    fn findings(
        &self,
        rules: &Rules,
        events: &[Vec<CustomerEvent>],
        outcome: &Outcome,
    ) -> (Vec<Finding>, Vec<Uuid>) {
        let (mut findings, mut failed) = (BTreeMap::new(), Vec::new());
        if !self.desk.run.state.is_full {
            return (Vec::new(), failed);
        }
        let issues = outcome.findings.iter();
        let issues: HashMap<usize, Severity> = issues
            .map(|finding| (finding.index, finding.severity))
            .collect();
        for (index, place) in self.named.places.iter().copied().enumerate() {
            let key = self.said.keys[place];
            let issue = issues.get(&index);
            if issue == Some(&Severity::Failed) {
                failed.push(key);
            }
            let Some(person) = self.named.person_of[index] else {
                continue;
            };
            if self.owners.get(&person) != Some(&short(key)) {
                continue;
            }
            let Some((stream, version, is_settled)) = self.found(rules, person, &events[person])
            else {
                continue;
            };
            let is_applied = matches!(self.named.meanings[index], Meaning::Customer(_));
            let digest = self.said.digests[place];
            // The last one counts of a record that comes twice.
            findings.insert(
                person,
                Finding {
                    stream,
                    record: short(key),
                    version,
                    digest: digest.filter(|_| is_settled && is_applied && issue.is_none()),
                },
            );
        }
        (findings.into_values().collect(), failed)
    }

    /// The stream and the version of a person who is there, or will be, and whether the record that asked for these events will
    /// find nothing to do next time; whoever is changed may be changed by somebody else first, and who has another source is
    /// subject to what becomes of that.
    fn found(
        &self,
        rules: &Rules,
        person: usize,
        events: &[CustomerEvent],
    ) -> Option<(Uuid, i32, bool)> {
        let Some(before) = &self.people.loaded[person] else {
            let is_new = !events.is_empty() && !self.desk.run.state.dry_run;
            let version = i32::try_from(events.len()).unwrap_or(i32::MAX);
            return is_new.then_some((self.people.streams[person], version, true));
        };
        let of = before.state.source.connection_id.as_ref();
        let is_own = of.is_some() && of == rules.source.connection_id.as_ref();
        let is_settled = events.is_empty() && is_own && !self.people.suppressed[person];
        Some((before.stream, before.version, is_settled))
    }
}
