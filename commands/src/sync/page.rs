//! From records to commands that are ready to append, by the same decisions as rows of an import.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roster_domain::Personal;
use roster_domain::connection::{Connection, parse_id};
use roster_domain::customer::{Customer, CustomerEvent, DataSource, SourceKind};
use roster_domain::import::{Counts, StoredIssue};
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_domain::sync_run::SyncRun;
use roster_store::{Loaded, Prepared, Project};
use uuid::Uuid;

use super::meaning::read;
use super::seen::{self, Mark};
use super::source::Record;
use crate::import::decide::{Outcome, Rules};
use crate::import::issues::issue;
use crate::import::meaning::{Meaning, Refusal};
use crate::import::work::{Decided, People, holders};
use crate::schema::ActiveSchema;
use crate::{CommandError, Directory};

/// The longest text of a record that is kept with a failure, in bytes.
const KEPT_RECORD: usize = 4 << 10;

/// What all pages of one run share.
pub(super) struct Desk {
    pub(super) directory: Directory,
    pub(super) project: Arc<Project>,
    pub(super) connection: Connection,
    /// The run as it was found: its plan and its key.
    pub(super) run: Loaded<SyncRun>,
    pub(super) meta: Meta,
    /// Whether unique values are looked up before an append: worth a round trip once one was lost to a taken value.
    pub(super) looks_up_values: AtomicBool,
}

/// Decided records.
pub(super) struct Worked {
    pub(super) commands: Vec<Prepared>,
    /// Ends the preparation that a value stands against.
    pub(super) void: Option<Prepared>,
    pub(super) counts: Counts,
    pub(super) warnings: u64,
    pub(super) issues: Vec<StoredIssue>,
    /// How many of the source were marked as being there who were not before.
    pub(super) marked: u64,
    marks: Vec<Mark>,
    /// Customers on whose states it rests, also where nothing changes.
    pub(super) known: Vec<Uuid>,
    /// The version of the schema's stream that was relied on.
    pub(super) schema_version: i32,
}

/// Records, whom they name, and the present states of these.
pub(super) struct Looked {
    active: Arc<ActiveSchema>,
    named: Named,
    people: People,
}

/// Records and whom they name.
struct Named {
    meanings: Vec<Meaning>,
    person_of: Vec<Option<usize>>,
    ids: Vec<String>,
    /// What stands for each record.
    keys: Vec<Uuid>,
}

/// What a decision is made of; nothing in it waits.
struct Task {
    desk: Arc<Desk>,
    rules: Rules,
    looks_up: bool,
    records: Arc<Vec<Record>>,
    /// How many records of the run came before.
    before: u64,
    named: Named,
    people: People,
}

enum Step {
    Void(String),
    LookUp(Vec<Claim>),
    Worked(Box<Worked>),
}

impl Desk {
    /// Finds whom records name, by the present schema.
    pub(super) async fn look(
        self: &Arc<Self>,
        records: &Arc<Vec<Record>>,
    ) -> Result<Looked, CommandError> {
        let active = self.directory.active_schema(&self.project).await?;
        let named = self.name(&active, records).await?;
        let people = People::find(&self.directory, &self.project, &named.ids).await?;
        Ok(Looked {
            active,
            named,
            people,
        })
    }

    /// Decides records by the present schema and states. `taken` are values of which it is known who has them.
    pub(super) async fn work(
        self: &Arc<Self>,
        records: Arc<Vec<Record>>,
        before: u64,
        taken: HashMap<Claim, Uuid>,
    ) -> Result<Worked, CommandError> {
        let looked = self.look(&records).await?;
        self.decide(records, looked, before, taken).await
    }

    /// Decides records by the states in which those whom they name were found.
    pub(super) async fn decide(
        self: &Arc<Self>,
        records: Arc<Vec<Record>>,
        looked: Looked,
        before: u64,
        taken: HashMap<Claim, Uuid>,
    ) -> Result<Worked, CommandError> {
        let Looked {
            active,
            mut named,
            people,
        } = looked;
        let marked = self.refuse_doubles(&mut named, &people).await?;
        let gone = self.gone(&people).await?;
        let mut task = Task {
            rules: self.rules(&active, taken, gone),
            desk: Arc::clone(self),
            looks_up: self.run.state.dry_run || self.looks_up_values.load(Ordering::Relaxed),
            records,
            before,
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
                Step::Void(field) => {
                    task.rules.pending = None;
                    voided = Some(field);
                }
                Step::LookUp(claims) => {
                    task.looks_up = false;
                    let held = holders(&self.directory, &self.project, &claims).await?;
                    task.rules.taken.extend(held);
                }
                Step::Worked(mut worked) => {
                    worked.schema_version = active.stream_version;
                    let marks = std::mem::take(&mut worked.marks);
                    worked.marked = marked + self.mark(&marks).await?;
                    if let (Some(field), Some(pending), false) =
                        (&voided, &active.pending, self.run.state.dry_run)
                    {
                        let (project, id) = (&self.project, pending.preparation_id);
                        let directory = &self.directory;
                        worked.void = directory
                            .void_preparation(project, &self.meta, id, field)
                            .await?;
                    }
                    return Ok(*worked);
                }
            }
        }
    }

    /// The tag of the connection's rows; record and time come with each.
    fn tag(&self) -> DataSource {
        DataSource {
            kind: SourceKind::DirectorySync,
            provider: Some(self.connection.settings.provider.clone()),
            connection_id: Some(self.connection.id_text()),
            external_id: Personal::Known(None),
            synced_at: None,
        }
    }

    fn rules(
        &self,
        active: &ActiveSchema,
        taken: HashMap<Claim, Uuid>,
        gone: HashSet<String>,
    ) -> Rules {
        let pending = active.pending.as_ref();
        Rules {
            schema: Arc::clone(&active.schema),
            pending: pending
                .map(|pending| (Arc::clone(&pending.schema), Arc::clone(&pending.unique))),
            source: self.tag(),
            gone,
            on_conflict: self.connection.settings.on_conflict,
            at: self.directory.now(),
            taken,
        }
    }

    async fn name(
        &self,
        active: &ActiveSchema,
        records: &Arc<Vec<Record>>,
    ) -> Result<Named, CommandError> {
        let (schema, records) = (Arc::clone(&active.schema), Arc::clone(records));
        let setup = self.connection.settings.setup.known().cloned();
        let mapping = setup.unwrap_or_default().mapping;
        let (project, connection) = (Arc::clone(&self.project), self.connection.id);
        let read_all = move || {
            let mut places: HashMap<String, usize> = HashMap::with_capacity(records.len());
            let mut named = Named {
                meanings: Vec::with_capacity(records.len()),
                person_of: Vec::with_capacity(records.len()),
                ids: Vec::with_capacity(records.len()),
                keys: Vec::with_capacity(records.len()),
            };
            for record in records.iter() {
                named.keys.push(project.record_key(connection, &record.id));
                let (id, meaning) = read(&mapping, &schema, record);
                let ids = &mut named.ids;
                named.person_of.push(id.map(|id| {
                    *places.entry(id).or_insert_with_key(|id| {
                        ids.push(id.clone());
                        ids.len() - 1
                    })
                }));
                named.meanings.push(meaning);
            }
            named
        };
        tokio::task::spawn_blocking(read_all)
            .await
            .map_err(|_| internal())
    }

    /// Keeps a second record out that names somebody whom another one names: they would undo each other in every run. In a walk
    /// through everything that holds across its pages, and customers who are named are marked as being there; how many of the
    /// marks are new.
    async fn refuse_doubles(
        &self,
        named: &mut Named,
        people: &People,
    ) -> Result<u64, CommandError> {
        let mut first: HashMap<usize, Uuid> = HashMap::new();
        let mut known = HashMap::new();
        let mut marked = 0;
        if self.run.state.is_full {
            let mut marks: Vec<Mark> = Vec::with_capacity(named.keys.len());
            let mut is_marked = vec![false; people.streams.len()];
            for (key, place) in named.keys.iter().zip(&named.person_of) {
                let place = place.filter(|place| people.loaded[*place].is_some());
                if let Some(place) = place.filter(|place| !is_marked[*place]) {
                    is_marked[place] = true;
                    marks.push((people.streams[place], *key));
                }
            }
            marked = self.mark(&marks).await?;
            // Marks that are not new are of pages before.
            if marked < marks.len() as u64 {
                let streams: Vec<Uuid> = marks.into_iter().map(|(stream, _)| stream).collect();
                known = seen::found(self.directory.cell(), self.run.stream, &streams).await?;
            }
        }
        for (index, key) in named.keys.iter().copied().enumerate() {
            let Some(place) = named.person_of[index] else {
                continue;
            };
            let known = known.get(&people.streams[place]).copied();
            let owner = *first.entry(place).or_insert(known.unwrap_or(key));
            if owner != key && matches!(named.meanings[index], Meaning::Customer(_)) {
                named.meanings[index] = Meaning::Refused(Refusal::new(
                    None,
                    "duplicate_record",
                    "another record of the source names the same customer",
                ));
            }
        }
        Ok(marked)
    }

    async fn mark(&self, marks: &[Mark]) -> Result<u64, CommandError> {
        if marks.is_empty() {
            return Ok(0);
        }
        seen::mark(self.directory.cell(), self.run.stream, marks).await
    }

    /// The connections of rows that are gone themselves.
    async fn gone(&self, people: &People) -> Result<HashSet<String>, CommandError> {
        let loaded = people.loaded.iter().flatten();
        let of: HashSet<&String> = loaded
            .filter_map(|person| person.state.source.connection_id.as_ref())
            .collect();
        let mut gone = HashSet::new();
        for text in of {
            let Some(id) = parse_id(text).filter(|id| *id != self.connection.id) else {
                continue;
            };
            let cell = self.directory.cell();
            let connection = cell.load::<Connection>(&self.project, id).await?;
            if !connection.state.is_there() {
                gone.insert(text.clone());
            }
        }
        Ok(gone)
    }
}

impl Task {
    fn run(&mut self) -> Result<Step, CommandError> {
        let named = &mut self.named;
        let (meanings, person_of) = (&mut named.meanings, &named.person_of);
        let decided = self
            .people
            .decide(&self.rules, meanings, person_of, self.looks_up);
        Ok(match decided {
            Decided::Void(field) => Step::Void(field),
            Decided::LookUp(claims) => Step::LookUp(claims),
            Decided::Events(events, outcome) => {
                Step::Worked(Box::new(self.finish(events, &outcome)?))
            }
        })
    }

    fn finish(
        &self,
        events: Vec<Vec<CustomerEvent>>,
        outcome: &Outcome,
    ) -> Result<Worked, CommandError> {
        let desk = &self.desk;
        let cell = desk.directory.cell();
        let mut commands = Vec::new();
        let mut new: HashMap<usize, Loaded<Customer>> = HashMap::new();
        for (place, events) in events.into_iter().enumerate() {
            if events.is_empty() || desk.run.state.dry_run {
                continue;
            }
            if let Some(before) = &self.people.loaded[place] {
                commands.push(cell.prepare(&desk.project, before, events, &desk.meta)?);
                continue;
            }
            let before = cell.new_stream::<Customer>(self.people.streams[place]);
            commands.push(cell.prepare(&desk.project, &before, events, &desk.meta)?);
            new.insert(place, before);
        }
        let issues = outcome.findings.iter().map(|finding| {
            let person = finding.person.and_then(|place| {
                self.people.loaded[place]
                    .as_ref()
                    .or_else(|| new.get(&place))
            });
            let id = finding
                .person
                .and_then(|place| self.named.ids.get(place))
                .map(String::as_str);
            let record = &self.records[finding.index];
            let text = kept(record);
            let cells = [record.id.as_str(), text.as_str()];
            let number = self.before + finding.index as u64 + 1;
            issue(&desk.run, finding, number, cells.into_iter(), id, person)
        });
        Ok(Worked {
            commands,
            void: None,
            counts: outcome.counts,
            warnings: outcome.warnings,
            issues: issues.collect(),
            marked: 0,
            marks: self.marks(outcome),
            known: self.people.known(),
            schema_version: 0,
        })
    }

    /// Who is new is there, and so is every record that could not be applied; customers who were known are marked already.
    fn marks(&self, outcome: &Outcome) -> Vec<Mark> {
        if !self.desk.run.state.is_full {
            return Vec::new();
        }
        let failed = outcome.findings.iter();
        let failed: HashSet<usize> = failed
            .filter(|finding| finding.severity == roster_domain::import::Severity::Failed)
            .map(|finding| finding.index)
            .collect();
        let mut marks = Vec::new();
        for (index, key) in self.named.keys.iter().copied().enumerate() {
            if failed.contains(&index) {
                marks.push((key, key));
                continue;
            }
            let place = self.named.person_of[index];
            if let Some(place) = place.filter(|place| self.people.loaded[*place].is_none()) {
                marks.push((self.people.streams[place], key));
            }
        }
        marks
    }
}

/// A record as it is kept with a failure.
fn kept(record: &Record) -> String {
    let mut text = serde_json::to_string(&record.fields).unwrap_or_default();
    let mut end = text.len().min(KEPT_RECORD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn internal() -> CommandError {
    CommandError::internal("the records of a run could not be decided")
}
