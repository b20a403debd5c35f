//! From records to commands that are ready to append, by the same decisions as rows of an import.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roster_domain::Personal;
use roster_domain::connection::{Connection, parse_id};
use roster_domain::customer::{DataSource, SourceKind};
use roster_domain::import::{Counts, StoredIssue};
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_domain::sync_run::SyncRun;
use roster_store::{Loaded, Prepared, Project};
use uuid::Uuid;

use super::meaning::read;
use super::recall::{Passed, Said};
use super::seen;
use super::source::Record;
use super::task::Task;
use crate::import::decide::Rules;
use crate::import::meaning::{Meaning, Refusal};
use crate::import::people::{People, settle};
use crate::known::{self, Finding, short};
use crate::schema::ActiveSchema;
use crate::{CommandError, Directory};

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
    /// Who was found, to be known by the next run.
    pub(super) findings: Vec<Finding>,
    /// What stands for the records that could not be applied.
    pub(super) failed: Vec<Uuid>,
    /// Customers who are there only once it is written.
    pub(super) new: Vec<Uuid>,
    /// Customers on whose states it rests, also where nothing changes.
    pub(super) known: Vec<Uuid>,
    /// The version of the schema's stream that was relied on.
    pub(super) schema_version: i32,
}

/// Records, whom they name, and the present states of these.
pub(super) struct Looked {
    active: Arc<ActiveSchema>,
    said: Said,
    passed: Passed,
    named: Named,
    people: People,
}

/// The records that are not passed over, and whom they name.
pub(super) struct Named {
    /// Their places among all records.
    pub(super) places: Vec<usize>,
    pub(super) meanings: Vec<Meaning>,
    /// The place of the person whom each of them names.
    pub(super) person_of: Vec<Option<usize>>,
    pub(super) ids: Vec<String>,
}

impl Desk {
    /// Finds whom records name, by the present schema.
    pub(super) async fn look(
        self: &Arc<Self>,
        records: &Arc<Vec<Record>>,
    ) -> Result<Looked, CommandError> {
        let active = self.directory.present_schema(&self.project).await?;
        let said = self.said(&active, records).await?;
        let mut passed = self.recall(&said).await?;
        loop {
            let named = self.name(&active, records, &passed).await?;
            let people = People::find(&self.directory, &self.project, &named.ids).await?;
            // Somebody whom another record names as well may be changed by it.
            let others: HashSet<Uuid> = people.known().into_iter().collect();
            let before = passed.len();
            passed.retain(|_, row| !others.contains(&row.stream));
            if passed.len() == before {
                return Ok(Looked {
                    active,
                    said,
                    passed,
                    named,
                    people,
                });
            }
        }
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

    /// Decides records once more, of which the first decision comes to nothing.
    pub(super) async fn work_again(
        self: &Arc<Self>,
        worked: &Worked,
        records: Arc<Vec<Record>>,
        before: u64,
        taken: HashMap<Claim, Uuid>,
    ) -> Result<Worked, CommandError> {
        known::forget(self.directory.cell(), &worked.new).await?;
        self.work(records, before, taken).await
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
            said,
            passed,
            mut named,
            people,
        } = looked;
        let owners = self.refuse_doubles(&said, &mut named, &people).await?;
        let gone = self.gone(&people).await?;
        let rules = self.rules(&active, taken, gone);
        let looks_up = self.run.state.dry_run || self.looks_up_values.load(Ordering::Relaxed);
        let mut task = Task {
            desk: Arc::clone(self),
            records,
            before,
            said,
            named,
            owners,
            people,
        };
        let run = move |rules: &Rules| task.run(rules, looks_up);
        let (directory, project) = (&self.directory, &self.project);
        let settled = settle(directory, project, rules, run).await?;
        let mut worked = settled.all;
        worked.schema_version = active.stream_version;
        worked.counts.unchanged += passed.len() as u64;
        worked.known.extend(passed.values().map(|row| row.stream));
        worked.known.extend(settled.holders);
        self.mark(&mut worked, &passed).await?;
        if let (Some(field), Some(pending), false) =
            (&settled.voided, &active.pending, self.run.state.dry_run)
        {
            let id = pending.preparation_id;
            worked.void = directory
                .void_preparation(project, &self.meta, id, field)
                .await?;
        }
        Ok(*worked)
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
            asked: HashSet::new(),
        }
    }

    async fn name(
        &self,
        active: &ActiveSchema,
        records: &Arc<Vec<Record>>,
        passed: &Passed,
    ) -> Result<Named, CommandError> {
        let (schema, records) = (Arc::clone(&active.schema), Arc::clone(records));
        let setup = self.connection.settings.setup.known().cloned();
        let mapping = setup.unwrap_or_default().mapping;
        let places: Vec<usize> = (0..records.len())
            .filter(|place| !passed.contains_key(place))
            .collect();
        let read_all = move || {
            let mut people: HashMap<String, usize> = HashMap::with_capacity(places.len());
            let mut named = Named {
                meanings: Vec::with_capacity(places.len()),
                person_of: Vec::with_capacity(places.len()),
                ids: Vec::with_capacity(places.len()),
                places,
            };
            for place in &named.places {
                let (id, meaning) = read(&mapping, &schema, &records[*place]);
                let ids = &mut named.ids;
                named.person_of.push(id.map(|id| {
                    *people.entry(id).or_insert_with_key(|id| {
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
    /// through everything that holds across its pages. What stands for the record by which each person is found, by the
    /// person's place.
    async fn refuse_doubles(
        &self,
        said: &Said,
        named: &mut Named,
        people: &People,
    ) -> Result<HashMap<usize, i64>, CommandError> {
        let mut owners: HashMap<usize, i64> = HashMap::new();
        let known = if self.run.state.is_full {
            let (cell, connection) = (self.directory.cell(), self.connection.id);
            seen::found(cell, self.run.stream, connection, &people.known()).await?
        } else {
            HashMap::new()
        };
        for (index, place) in named.places.iter().enumerate() {
            let Some(person) = named.person_of[index] else {
                continue;
            };
            let key = short(said.keys[*place]);
            let known = known.get(&people.streams[person]).copied();
            let owner = *owners.entry(person).or_insert(known.unwrap_or(key));
            if owner != key && matches!(named.meanings[index], Meaning::Customer(_)) {
                named.meanings[index] = Meaning::Refused(Refusal::new(
                    None,
                    "duplicate_record",
                    "another record of the source names the same customer",
                ));
            }
        }
        Ok(owners)
    }

    /// Remembers in a walk through everything who is there, and what the next one need not look at.
    async fn mark(&self, worked: &mut Worked, passed: &Passed) -> Result<(), CommandError> {
        if !self.run.state.is_full {
            return Ok(());
        }
        let (cell, run_id) = (self.directory.cell(), self.run.stream);
        let passed: Vec<i64> = passed.values().map(|row| row.no).collect();
        let found = &worked.findings;
        worked.marked = seen::mark(cell, run_id, self.connection.id, found, &passed).await?
            + seen::mark_failed(cell, run_id, &worked.failed).await?;
        let new: HashSet<&Uuid> = worked.new.iter().collect();
        let streams = found.iter().map(|finding| finding.stream);
        let read: Vec<Uuid> = streams.filter(|stream| !new.contains(stream)).collect();
        known::forget_erased(cell, &read).await
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

pub(super) fn internal() -> CommandError {
    CommandError::internal("the records of a run could not be decided")
}
