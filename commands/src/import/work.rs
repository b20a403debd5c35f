//! From a batch of rows to commands that are ready to append.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roster_domain::Personal;
use roster_domain::customer::{CustomerEvent, DataSource, SourceKind};
use roster_domain::import::Import;
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_store::{Loaded, Prepared, Project};
use uuid::Uuid;

use super::decide::{Outcome, Rules};
use super::header::{Columns, Names};
use super::issues::issue;
use super::meaning::{Meaning, given_id, read};
use super::people::{Decided, People, Written, settle};
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
    /// The ids of customers whom it begins.
    begun: HashSet<String>,
    /// The ids of those who are not there and whom it does not begin either.
    absent: Vec<String>,
    /// What is to be known of its rows once it is written.
    pub(crate) findings: Vec<known::Finding>,
    /// The version of the schema's stream that was relied on.
    pub(crate) schema_version: i32,
}

/// The customers whom a batch changes or begins.
#[derive(Default)]
pub(crate) struct Changes {
    streams: HashSet<Uuid>,
    begun: HashSet<String>,
}

impl Worked {
    /// What it changes.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            streams: self.commands.iter().map(Prepared::stream).collect(),
            begun: self.begun.clone(),
        }
    }

    /// Whether it was decided by the states of some of these customers, or because somebody was not there who is begun.
    pub(crate) fn rests_on(&self, changes: &Changes) -> bool {
        let mut known = self.known.iter();
        let mut absent = self.absent.iter();
        known.any(|stream| changes.streams.contains(stream))
            || absent.any(|id| changes.begun.contains(id))
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

/// Work for a thread: nothing in it waits.
struct Task {
    bench: Arc<Bench>,
    /// The version of the schema's stream.
    schema_version: i32,
    batch: Arc<Batch>,
    marks: Vec<Option<Mark>>,
    named: Named,
    people: People,
}

impl Bench {
    /// Finds whom the rows of a batch name, by the present schema.
    pub(crate) async fn look(self: &Arc<Self>, batch: Arc<Batch>) -> Result<Looked, WorkError> {
        let active = self.directory.present_schema(&self.project).await?;
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
            schema_version: active.stream_version,
            batch,
            marks,
            named,
            people,
        };
        let run = move |rules: &Rules| task.run(rules, looks_up);
        let (directory, project) = (&self.directory, &self.project);
        let settled = settle(directory, project, rules, run).await?;
        let mut worked = settled.all;
        worked.tally.counts.unchanged += passed.len() as u64;
        worked.known.extend(passed.values());
        worked.known.extend(settled.holders);
        if let (Some(field), Some(pending), false) =
            (&settled.voided, &active.pending, self.import.state.dry_run)
        {
            let id = pending.preparation_id;
            worked.void = directory
                .void_preparation(project, &self.meta, id, field)
                .await?;
        }
        Ok(*worked)
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
            asked: HashSet::new(),
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

impl Task {
    fn run(&mut self, rules: &Rules, looks_up: bool) -> Result<Decided<Box<Worked>>, CommandError> {
        let named = &mut self.named;
        let (meanings, person_of) = (&mut named.meanings, &named.person_of);
        let decided = self.people.decide(rules, meanings, person_of, looks_up);
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
        let (mut begun, mut absent) = (HashSet::new(), Vec::new());
        for (place, id) in self.named.ids.iter().enumerate() {
            if self.people.loaded[place].is_some() {
                continue;
            }
            if events[place].is_empty() {
                absent.push(id.clone());
            } else {
                begun.insert(id.clone());
            }
        }
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
            begun,
            absent,
            findings,
            schema_version: self.schema_version,
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

fn internal() -> CommandError {
    CommandError::internal("the rows of an import could not be decided")
}
