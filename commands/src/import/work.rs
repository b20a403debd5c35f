//! From a batch of rows to commands that are ready to append.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roster_domain::Personal;
use roster_domain::customer::{Customer, CustomerEvent, DataSource, SourceKind};
use roster_domain::import::Import;
use roster_domain::meta::Meta;
use roster_domain::stream::{Claim, claim_kind};
use roster_store::{Cell, Loaded, Prepared, Project};
use uuid::Uuid;

use super::decide::{Finding, Outcome, Person, Rules, decide};
use super::header::{Columns, Names};
use super::issues::issue;
use super::meaning::{Meaning, given_id, read};
use super::progress::Tally;
use super::recall::{Mark, Passed, Recall};
use super::rows::Batch;
use crate::schema::ActiveSchema;
use crate::{CommandError, CsvProblem, Directory, known};

/// What all batches of one run of an import share.
pub(crate) struct Bench {
    pub(crate) directory: Directory,
    pub(crate) project: Arc<Project>,
    /// The import as the run found it: its plan and its key.
    pub(crate) import: Loaded<Import>,
    pub(crate) meta: Meta,
    /// Whether unique values are looked up before an append: worth a round trip once one was lost to a taken value.
    pub(crate) looks_up_values: AtomicBool,
    pub(crate) recall: Recall,
}

/// A decided batch.
pub(crate) struct Worked {
    pub(crate) batch: Arc<Batch>,
    pub(crate) commands: Vec<Prepared>,
    /// Ends the preparation that a row's value stands against.
    pub(crate) void: Option<Prepared>,
    pub(crate) tally: Tally,
    /// Customers on whose states it rests, also where nothing changes.
    pub(crate) known: Vec<Uuid>,
    /// What is to be known of its rows once it is written.
    pub(crate) findings: Vec<known::Finding>,
    /// The version of the schema's stream that was relied on.
    pub(crate) schema_version: i32,
}

impl Worked {
    /// The customers whom it changes.
    pub(crate) fn changes(&self) -> HashSet<Uuid> {
        self.commands.iter().map(Prepared::stream).collect()
    }

    /// Whether it was decided by the states of some of these customers.
    pub(crate) fn rests_on(&self, changed: &HashSet<Uuid>) -> bool {
        self.known.iter().any(|stream| changed.contains(stream))
    }
}

/// A batch, whom it names, and the present states of these.
pub(crate) struct Looked {
    batch: Arc<Batch>,
    active: Arc<ActiveSchema>,
    marks: Vec<Option<Mark>>,
    passed: Passed,
    named: Named,
    people: People,
}

/// Why a batch cannot be decided at all.
pub(crate) enum WorkError {
    /// The columns no longer fit the schema.
    Header(CsvProblem),
    /// The database failed, or a row that should not be there is.
    Command(CommandError),
}

impl<E: Into<CommandError>> From<E> for WorkError {
    fn from(error: E) -> Self {
        Self::Command(error.into())
    }
}

/// The rows of a batch that are not passed over, and whom they name. Kept while a batch is decided again.
struct Named {
    /// Their places in the batch.
    places: Vec<usize>,
    meanings: Vec<Meaning>,
    /// The place of the person whom each row names.
    person_of: Vec<Option<usize>>,
    ids: Vec<String>,
}

/// The people of a batch, each at its place.
#[derive(Default)]
pub(crate) struct People {
    pub(crate) loaded: Vec<Option<Loaded<Customer>>>,
    pub(crate) streams: Vec<Uuid>,
    pub(crate) suppressed: Vec<bool>,
}

/// Work for a thread: nothing in it waits.
struct Task {
    bench: Arc<Bench>,
    active: Arc<ActiveSchema>,
    rules: Rules,
    looks_up: bool,
    batch: Arc<Batch>,
    marks: Vec<Option<Mark>>,
    named: Named,
    people: People,
}

impl Bench {
    /// Finds whom the rows of a batch name, by the present schema.
    pub(crate) async fn look(self: &Arc<Self>, batch: Arc<Batch>) -> Result<Looked, WorkError> {
        let active = self.directory.active_schema(&self.project).await?;
        let header = self.import.state.header.iter().map(String::as_str);
        let columns =
            Columns::read(header, &Names::of(&active.schema)).map_err(WorkError::Header)?;
        let columns = Arc::new(columns);
        let marks = self.marks(&active, &columns, &batch).await?;
        let mut passed = self.recall.passed(self.directory.cell(), &marks).await?;
        loop {
            let named = self.name(&active, &columns, &batch, &passed).await?;
            let people = People::find(&self.directory, &self.project, &named.ids).await?;
            // Somebody whom another row names as well may be changed by it.
            let others: HashSet<Uuid> = people.known().into_iter().collect();
            let before = passed.len();
            passed.retain(|_, stream| !others.contains(stream));
            if passed.len() == before {
                return Ok(Looked {
                    batch,
                    active,
                    marks,
                    passed,
                    named,
                    people,
                });
            }
        }
    }

    /// Decides a batch by the present schema and states. `taken` are values of which it is known who has them.
    pub(crate) async fn work(
        self: &Arc<Self>,
        batch: Arc<Batch>,
        taken: HashMap<Claim, Uuid>,
    ) -> Result<Worked, WorkError> {
        let looked = self.look(batch).await?;
        self.decide(looked, taken).await
    }

    /// Decides a batch by the states in which those whom it names were found.
    pub(crate) async fn decide(
        self: &Arc<Self>,
        looked: Looked,
        taken: HashMap<Claim, Uuid>,
    ) -> Result<Worked, WorkError> {
        let Looked {
            batch,
            active,
            marks,
            passed,
            named,
            people,
        } = looked;
        let looks_up = self.import.state.dry_run || self.looks_up_values.load(Ordering::Relaxed);
        let rules = self.rules(&active, taken);
        let mut task = Task {
            bench: Arc::clone(self),
            active,
            rules,
            looks_up,
            batch,
            marks,
            named,
            people,
        };
        let mut voided = None;
        loop {
            let ran = tokio::task::spawn_blocking(move || {
                let step = task.run();
                (task, step)
            });
            let (back, step) = ran.await.map_err(|_| internal())?;
            task = back;
            match step? {
                Decided::Void(field) => {
                    task.rules.pending = None;
                    voided = Some(field);
                }
                Decided::LookUp(claims) => {
                    task.looks_up = false;
                    let held = holders(&self.directory, &self.project, &claims).await?;
                    task.rules.taken.extend(held);
                }
                Decided::All(mut worked) => {
                    worked.tally.counts.unchanged += passed.len() as u64;
                    worked.known.extend(passed.values());
                    if let (Some(field), Some(pending), false) =
                        (&voided, &task.active.pending, self.import.state.dry_run)
                    {
                        let (project, id) = (&self.project, pending.preparation_id);
                        worked.void = self
                            .directory
                            .void_preparation(project, &self.meta, id, field)
                            .await?;
                    }
                    return Ok(*worked);
                }
            }
        }
    }

    fn rules(&self, active: &ActiveSchema, taken: HashMap<Claim, Uuid>) -> Rules {
        let pending = active.pending.as_ref();
        Rules {
            schema: Arc::clone(&active.schema),
            pending: pending
                .map(|pending| (Arc::clone(&pending.schema), Arc::clone(&pending.unique))),
            source: DataSource {
                kind: SourceKind::Csv,
                provider: Some(self.import.state.provider.clone()),
                connection_id: None,
                external_id: Personal::Known(None),
                synced_at: None,
            },
            gone: HashSet::new(),
            on_conflict: self.import.state.on_conflict,
            at: self.directory.now(),
            taken,
        }
    }

    /// What stands for the rows of a batch.
    async fn marks(
        self: &Arc<Self>,
        active: &ActiveSchema,
        columns: &Arc<Columns>,
        batch: &Arc<Batch>,
    ) -> Result<Vec<Option<Mark>>, CommandError> {
        let (bench, schema) = (Arc::clone(self), Arc::clone(&active.schema));
        let (columns, batch) = (Arc::clone(columns), Arc::clone(batch));
        let version = active.stream_version;
        let mark_all = move || {
            let by = (&*columns, schema.primary_key(), version);
            let import = &bench.import.state;
            bench.recall.marks(&bench.project, import, by, &batch.rows)
        };
        tokio::task::spawn_blocking(mark_all)
            .await
            .map_err(|_| internal())
    }

    /// Reads the rows that are not passed over, and gives everybody whom they name a place.
    async fn name(
        &self,
        active: &ActiveSchema,
        columns: &Arc<Columns>,
        batch: &Arc<Batch>,
        passed: &Passed,
    ) -> Result<Named, CommandError> {
        let (schema, batch) = (Arc::clone(&active.schema), Arc::clone(batch));
        let (columns, empty_cells) = (Arc::clone(columns), self.import.state.empty_cells);
        let rows: Vec<usize> = (0..batch.rows.len())
            .filter(|place| !passed.contains_key(place))
            .collect();
        let read_all = move || {
            let mut places: HashMap<String, usize> = HashMap::with_capacity(rows.len());
            let mut ids = Vec::with_capacity(rows.len());
            let mut person_of = Vec::with_capacity(rows.len());
            let mut meanings = Vec::with_capacity(rows.len());
            for place in &rows {
                let row = &batch.rows[*place];
                let meaning = read(&columns, &schema, empty_cells, row);
                let id = match &meaning {
                    Meaning::Customer(wanted) => Some(wanted.customer_user_id.clone()),
                    Meaning::Refused(_) => given_id(&columns, schema.primary_key(), &row.cells)
                        .and_then(|id| schema.canonical_id(id).ok()),
                    Meaning::Blank => None,
                };
                person_of.push(id.map(|id| {
                    *places.entry(id).or_insert_with_key(|id| {
                        ids.push(id.clone());
                        ids.len() - 1
                    })
                }));
                meanings.push(meaning);
            }
            Named {
                places: rows,
                meanings,
                person_of,
                ids,
            }
        };
        tokio::task::spawn_blocking(read_all)
            .await
            .map_err(|_| internal())
    }
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
}

/// What deciding the rows of a batch, or the records of a page, comes to.
pub(crate) enum Decided<T> {
    /// A pending unique field has a duplicate: decide without it.
    Void(String),
    /// These values are new to whom they are given: look up who has them.
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

impl People {
    /// Decides what is asked for these people; with `looks_up` it stops where somebody gets a value that is new to them.
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
        if looks_up {
            let claims: Vec<Claim> = people
                .iter()
                .filter(|person| !person.events.is_empty())
                .flat_map(Person::new_claims)
                .collect();
            if !claims.is_empty() {
                return Decided::LookUp(claims);
            }
        }
        let events = people.into_iter().map(|person| person.events).collect();
        Decided::All((events, outcome))
    }
}

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

impl Task {
    fn run(&mut self) -> Result<Decided<Box<Worked>>, CommandError> {
        let named = &mut self.named;
        let (meanings, person_of) = (&mut named.meanings, &named.person_of);
        let (people, looks_up) = (&self.people, self.looks_up);
        let decided = people.decide(&self.rules, meanings, person_of, looks_up);
        decided.try_map(|(events, outcome)| self.finish(events, &outcome).map(Box::new))
    }

    /// Prepares the commands and seals the findings.
    fn finish(
        &self,
        events: Vec<Vec<CustomerEvent>>,
        outcome: &Outcome,
    ) -> Result<Worked, CommandError> {
        let bench = &self.bench;
        let findings = self.findings(&events, outcome);
        let written = if bench.import.state.dry_run {
            Written::default()
        } else {
            let cell = bench.directory.cell();
            self.people
                .prepare(cell, &bench.project, &bench.meta, events, outcome)?
        };
        let issues = outcome
            .findings
            .iter()
            .map(|finding| {
                let id = finding
                    .person
                    .and_then(|place| self.named.ids.get(place))
                    .map(String::as_str);
                let row = &self.batch.rows[self.named.places[finding.index]];
                issue(
                    &bench.import,
                    finding,
                    row.number,
                    row.cells.iter(),
                    id,
                    self.people.person(&written, finding),
                )
            })
            .collect();
        Ok(Worked {
            batch: Arc::clone(&self.batch),
            commands: written.commands,
            void: None,
            tally: Tally {
                to: self.batch.to,
                rows: self.batch.rows.len() as u64,
                counts: outcome.counts,
                warnings: outcome.warnings,
                issues,
            },
            known: self.people.known(),
            findings,
            schema_version: self.active.stream_version,
        })
    }

    /// What is to be known of rows that will find nothing to do next time: of those that bring somebody, and of those that change
    /// nothing. Whoever is changed has nothing known until that.
    fn findings(&self, events: &[Vec<CustomerEvent>], outcome: &Outcome) -> Vec<known::Finding> {
        if self.bench.import.state.dry_run {
            return Vec::new();
        }
        let (named, people) = (&self.named, &self.people);
        let told: HashSet<usize> = outcome.findings.iter().map(|told| told.index).collect();
        let mut rows_of = vec![0_u32; named.ids.len()];
        for person in named.person_of.iter().flatten() {
            rows_of[*person] += 1;
        }
        let finding = |(index, place): (usize, &usize)| {
            let (mark, person) = (self.marks[*place]?, named.person_of[index]?);
            let is_applied = matches!(named.meanings[index], Meaning::Customer(_));
            let is_alone = rows_of[person] == 1 && !people.suppressed[person];
            if !is_applied || !is_alone || told.contains(&index) {
                return None;
            }
            let version = match (&people.loaded[person], events[person].len()) {
                (Some(before), 0) => before.version,
                (None, 1..) => i32::try_from(events[person].len()).ok()?,
                _ => return None,
            };
            Some(known::Finding {
                stream: people.streams[person],
                record: mark.record,
                version,
                digest: Some(mark.digest),
            })
        };
        named
            .places
            .iter()
            .enumerate()
            .filter_map(finding)
            .collect()
    }
}

/// Who holds which of some values and identities.
pub(crate) async fn holders(
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

fn internal() -> CommandError {
    CommandError::internal("the rows of an import could not be decided")
}
