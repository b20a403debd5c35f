//! Folds the events of a page to one change per customer. Pure: what is stored now comes in, what to store goes out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use roster_domain::Timestamp;
use roster_domain::access::Access;
use roster_domain::customer::{Customer, CustomerEvent, SourceKind};
use roster_domain::value::SmolStr;
use roster_store::Recorded;
use uuid::Uuid;

use crate::bucket::bucket;

/// One event of a customer.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) position: i64,
    pub(crate) project_no: i32,
    pub(crate) stream: Uuid,
    pub(crate) event: CustomerEvent,
}

/// A customer as it is listed. The id and the profile are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) project_no: i32,
    pub(crate) position: i64,
    pub(crate) customer: Customer,
}

impl Listed {
    /// The row of a customer before an event, of the state that decided it: what decides writes is no part of a row.
    pub(crate) fn before(recorded: &Recorded, state: &Customer) -> Self {
        Self {
            project_no: recorded.project_no,
            position: recorded.position,
            customer: Customer {
                status: state.status,
                customer_user_id: state.customer_user_id.clone(),
                profile: state.profile.clone(),
                enabled: state.enabled,
                connector_enabled: state.connector_enabled.clone(),
                source: state.source.clone(),
                is_adopted: false,
                is_disabled_at_source: false,
                claimed: Vec::new(),
                version: state.version,
                created_at: state.created_at,
                updated_at: state.updated_at,
                access: Access::default(),
            },
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.customer
            .customer_user_id
            .known()
            .map_or("", String::as_str)
    }

    pub(crate) fn source(&self) -> SourceKey {
        let source = &self.customer.source;
        SourceKey {
            project_no: self.project_no,
            kind: source.kind,
            provider: source.provider.clone().unwrap_or_default(),
            connection: source.connection_id.clone().unwrap_or_default(),
        }
    }

    /// The index prefix that the row has.
    pub(crate) fn bucket(&self) -> i64 {
        let source = &self.customer.source;
        let provider = source.provider.as_deref().unwrap_or_default();
        let connection = source.connection_id.as_deref().unwrap_or_default();
        bucket(
            self.project_no,
            source.kind,
            provider,
            connection,
            self.customer.enabled,
        )
    }

    /// Whether everything that a row needs is there.
    fn is_whole(&self) -> bool {
        self.customer.is_active()
            && self.customer.customer_user_id.known().is_some()
            && self.customer.profile.known().is_some()
    }
}

/// A data source of a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceKey {
    pub(crate) project_no: i32,
    pub(crate) kind: SourceKind,
    pub(crate) provider: String,
    pub(crate) connection: String,
}

/// How the count of a data source changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CountChange {
    pub(crate) count: i64,
    pub(crate) enabled: i64,
    /// The newest time of a row that was written, if one was.
    pub(crate) upserted_at: Option<Timestamp>,
}

/// A row that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) project_no: i32,
    pub(crate) stream: Uuid,
    pub(crate) id: String,
}

/// The one change per customer that a page makes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Folded {
    /// Rows of customers who came, under ids that no row had.
    pub(crate) inserts: Vec<(Uuid, Listed)>,
    /// Rows in the place of others.
    pub(crate) upserts: Vec<(Uuid, Listed)>,
    pub(crate) deletes: Vec<Gone>,
    /// Rows that go and were not read, by project and stream, if they are there: what is deleted says what they counted.
    pub(crate) unread: Vec<(i32, Uuid)>,
    pub(crate) counts: BTreeMap<SourceKey, CountChange>,
    /// Names of profile fields that were written.
    pub(crate) fields: FieldNames,
}

impl Folded {
    /// All rows that are written.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &(Uuid, Listed)> {
        self.inserts.iter().chain(&self.upserts)
    }

    /// Takes no row for new any more.
    pub(crate) fn expect_rows(&mut self) {
        self.upserts.append(&mut self.inserts);
    }
}

/// Names of profile fields, a set for each project.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FieldNames(BTreeMap<i32, BTreeSet<SmolStr>>);

impl FieldNames {
    fn add<'a>(&mut self, project_no: i32, names: impl Iterator<Item = &'a SmolStr>) {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return;
        }
        let known = self.0.entry(project_no).or_default();
        for name in names {
            if !known.contains(name) {
                known.insert(name.clone());
            }
        }
    }

    /// Leaves out what another set has.
    pub(crate) fn remove(&mut self, others: &Self) {
        for (project_no, names) in &mut self.0 {
            if let Some(others) = others.0.get(project_no) {
                names.retain(|name| !others.contains(name));
            }
        }
    }

    pub(crate) fn absorb(&mut self, others: Self) {
        for (project_no, names) in others.0 {
            self.0.entry(project_no).or_default().extend(names);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, &str)> {
        self.0
            .iter()
            .flat_map(|(project_no, names)| names.iter().map(|name| (*project_no, name.as_str())))
    }
}

/// A row that has to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) project_no: i32,
    pub(crate) stream: Uuid,
    /// Whether the profile is needed too: not of somebody who only goes.
    pub(crate) with_profile: bool,
}

impl Needed {
    /// The whole row of a stream.
    pub(crate) const fn row(project_no: i32, stream: Uuid) -> Self {
        Self {
            project_no,
            stream,
            with_profile: true,
        }
    }
}

/// The present rows that are needed to fold these events, without doubles. Of somebody who only goes the id counts, and only
/// where somebody else comes who may have it.
pub(crate) fn needed(changes: &[Change]) -> Vec<Needed> {
    let comes = |change: &Change| matches!(change.event, CustomerEvent::Registered { .. });
    let somebody_comes = changes.iter().any(comes);
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for change in changes {
        let with_profile = match change.event {
            CustomerEvent::Registered { .. } => {
                seen.insert(change.stream);
                continue;
            }
            CustomerEvent::Updated { .. } => true,
            // Before anything else, it is the first and the last of its stream here.
            CustomerEvent::Erased { .. } if somebody_comes => false,
            CustomerEvent::Erased { .. }
            | CustomerEvent::FieldsClaimed { .. }
            | CustomerEvent::IdentityLinked { .. }
            | CustomerEvent::IdentityUnlinked { .. }
            | CustomerEvent::GrantSet { .. }
            | CustomerEvent::GrantRevoked { .. } => continue,
        };
        if seen.insert(change.stream) {
            rows.push(Needed {
                project_no: change.project_no,
                stream: change.stream,
                with_profile,
            });
        }
    }
    rows
}

/// A stream while its events are folded.
struct Entry {
    project_no: i32,
    /// Source, switch and id of the row that is stored.
    before: Option<(SourceKey, bool, String)>,
    now: Option<Listed>,
    changed: bool,
}

impl Entry {
    fn present(project_no: i32, now: Option<Listed>) -> Self {
        let before = now
            .as_ref()
            .map(|row| (row.source(), row.customer.enabled, row.id().to_owned()));
        Self {
            project_no,
            before,
            now,
            changed: false,
        }
    }
}

/// Folds the events in order onto the present rows.
///
/// An event whose personal part is erased takes the row away: the person's erasure follows in the log.
pub(crate) fn fold(changes: Vec<Change>, mut present: HashMap<Uuid, Listed>) -> Folded {
    let mut folded = Folded::default();
    let mut entries: Vec<(Uuid, Entry)> = Vec::with_capacity(changes.len());
    let mut places: HashMap<Uuid, usize> = HashMap::with_capacity(changes.len());
    for Change {
        position,
        project_no,
        stream,
        event,
    } in changes
    {
        if !is_listed(&event) {
            continue;
        }
        let place = *places.entry(stream).or_insert_with(|| {
            entries.push((stream, Entry::present(project_no, present.remove(&stream))));
            entries.len() - 1
        });
        let (_, entry) = &mut entries[place];
        collect_fields(&mut folded.fields, project_no, &event);
        match (&mut entry.now, event) {
            (now, event @ CustomerEvent::Registered { .. }) => {
                let row = now.insert(Listed {
                    project_no,
                    position,
                    customer: Customer::default(),
                });
                row.customer.fold(event);
            }
            (Some(row), event) => {
                row.customer.fold(event);
                row.position = position;
            }
            (None, CustomerEvent::Erased { .. }) if !entry.changed => {
                folded.unread.push((project_no, stream));
                continue;
            }
            (None, _) => continue,
        }
        entry.changed = true;
        if !entry.now.as_ref().is_some_and(Listed::is_whole) {
            entry.now = None;
        }
    }
    folded.inserts.reserve(entries.len());
    for (stream, entry) in entries {
        finish(&mut folded, stream, entry);
    }
    replace(&mut folded);
    folded
        .counts
        .retain(|_, change| *change != CountChange::default());
    folded
}

/// A re-created customer is another stream with the same id: writing its row replaces the old one.
fn replace(folded: &mut Folded) {
    if folded.deletes.is_empty() {
        return;
    }
    let mut deletes = std::mem::take(&mut folded.deletes);
    let gone: HashSet<(i32, &str)> = deletes
        .iter()
        .map(|gone| (gone.project_no, gone.id.as_str()))
        .collect();
    let inserts = std::mem::take(&mut folded.inserts).into_iter();
    let (replacing, new): (Vec<_>, Vec<_>) =
        inserts.partition(|(_, row)| gone.contains(&(row.project_no, row.id())));
    let written: HashSet<(i32, &str)> = replacing
        .iter()
        .map(|(_, row)| (row.project_no, row.id()))
        .collect();
    deletes.retain(|gone| !written.contains(&(gone.project_no, gone.id.as_str())));
    folded.deletes = deletes;
    folded.inserts = new;
    folded.upserts.extend(replacing);
}

fn finish(folded: &mut Folded, stream: Uuid, entry: Entry) {
    let Entry {
        project_no,
        before,
        now,
        changed,
    } = entry;
    if !changed {
        return;
    }
    let is_new = before.is_none();
    if let Some((source, enabled, id)) = before {
        let change = folded.counts.entry(source).or_default();
        change.count -= 1;
        change.enabled -= i64::from(enabled);
        if now.is_none() {
            folded.deletes.push(Gone {
                project_no,
                stream,
                id,
            });
        }
    }
    if let Some(row) = now {
        let change = folded.counts.entry(row.source()).or_default();
        change.count += 1;
        change.enabled += i64::from(row.customer.enabled);
        change.upserted_at = change.upserted_at.max(Some(row.customer.updated_at));
        if is_new {
            folded.inserts.push((stream, row));
        } else {
            folded.upserts.push((stream, row));
        }
    }
}

/// Whether an event changes the row: claims, links and grants are no part of it.
pub(crate) const fn is_listed(event: &CustomerEvent) -> bool {
    matches!(
        event,
        CustomerEvent::Registered { .. }
            | CustomerEvent::Updated { .. }
            | CustomerEvent::Erased { .. }
    )
}

fn collect_fields(fields: &mut FieldNames, project_no: i32, event: &CustomerEvent) {
    match event {
        CustomerEvent::Registered { profile, .. } => {
            let names = profile.known().into_iter().flat_map(BTreeMap::keys);
            fields.add(project_no, names);
        }
        CustomerEvent::Updated { change, .. } => {
            let names = change.known().into_iter();
            fields.add(project_no, names.flat_map(|change| change.set.keys()));
        }
        _ => {}
    }
}
