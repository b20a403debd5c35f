//! From a stream to the place of its customer, for the one who writes.

use hashbrown::HashTable;
use uuid::Uuid;

use super::keys::Hashes;
use super::record::Record;
use super::space::{Place, Space};

/// Tables. They grow by doubling, so that one would stand still for long; no power of two, so that they grow at different
/// sizes than one would.
const TABLES: usize = 48;

/// Every customer who is kept.
pub(super) struct Streams(Vec<HashTable<Place>>);

impl Streams {
    pub(super) fn new() -> Self {
        Self((0..TABLES).map(|_| HashTable::new()).collect())
    }

    /// Room for so many customers, as tables would have it that grew to them.
    pub(super) fn reserve(&mut self, customers: usize) {
        for table in self.0.iter_mut().filter(|table| table.is_empty()) {
            *table = HashTable::with_capacity(customers / TABLES);
        }
    }

    pub(super) fn find(&self, hashes: &Hashes, space: &Space, stream: Uuid) -> Option<Place> {
        let hash = hashes.stream(stream);
        let found = self.0[table(hash)].find(hash, |place| stream_at(space, *place) == stream);
        found.copied()
    }

    /// A customer who was at one place, or nowhere, is at another. Both have the record.
    pub(super) fn put(&mut self, hashes: &Hashes, space: &Space, from: Option<Place>, to: Place) {
        let hash = hashes.stream(stream_at(space, to));
        let table = &mut self.0[table(hash)];
        let known = from.and_then(|from| table.find_mut(hash, |place| *place == from));
        if let Some(place) = known {
            *place = to;
            return;
        }
        table.insert_unique(hash, to, |place| hashes.stream(stream_at(space, *place)));
    }

    /// The customer at a place, who has the record still, goes.
    pub(super) fn remove(&mut self, hashes: &Hashes, space: &Space, from: Place) {
        let hash = hashes.stream(stream_at(space, from));
        if let Ok(entry) = self.0[table(hash)].find_entry(hash, |place| *place == from) {
            entry.remove();
        }
    }

    /// The customers of a project.
    pub(super) fn of_project(&self, space: &Space, project_no: i32) -> Vec<Uuid> {
        let records = self
            .0
            .iter()
            .flatten()
            .map(|place| Record::of(space.words(*place)));
        records
            .filter(|record| record.project_no() == project_no)
            .map(Record::stream)
            .collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(HashTable::allocation_size).sum()
    }
}

fn stream_at(space: &Space, place: Place) -> Uuid {
    Record::of(space.words(place)).stream()
}

fn table(hash: u64) -> usize {
    // Tables place by the lowest and the highest bits.
    let middle = (hash >> 20) & 0xffff;
    (middle as usize * TABLES) >> 16
}
