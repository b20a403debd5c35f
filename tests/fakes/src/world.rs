//! The people behind a fake vendor.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2026-03-01T00:00:00Z in milliseconds.
const START: i64 = 1_772_323_200_000;
/// People change an hour apart, which is more than any look-back.
const APART: i64 = 3_600_000;
/// From this change on it is a second, so that no change is in the future.
const CLOSER: u64 = 2_000;

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// A number from 1; each vendor makes its own id of it.
    pub no: u64,
    /// Their address.
    pub email: String,
    /// Their first name.
    pub first: String,
    /// Their last name.
    pub last: String,
    /// When they last changed, in milliseconds since 1970.
    pub changed: i64,
    /// Whether they were deleted.
    pub deleted: bool,
    /// How many changes there were when they last changed.
    pub version: u64,
}

impl Person {
    /// When they last changed, as `2026-03-01T00:00:00.000Z`.
    pub(crate) fn changed(&self) -> String {
        let instant = chrono::DateTime::from_timestamp_millis(self.changed).unwrap_or_default();
        instant.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }
}

/// All of them.
#[derive(Debug)]
pub struct World {
    /// By number.
    pub people: BTreeMap<u64, Person>,
    /// Who is not yet in the vendor's search index.
    pub late: BTreeSet<u64>,
    /// The most records of a page, where the vendor would give more.
    pub page: Option<usize>,
    /// The result at which a search of `HubSpot` ends: its ten-thousandth, unless a test is smaller.
    pub found_at_most: usize,
    /// The number of the last change.
    pub version: u64,
    clock: i64,
    /// Which token counts.
    token: u64,
    revoked: bool,
    /// What cursors of a vendor stand for.
    pub(crate) results: Vec<Vec<u64>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            people: BTreeMap::new(),
            late: BTreeSet::new(),
            page: None,
            found_at_most: 10_000,
            version: 0,
            clock: 0,
            token: 0,
            revoked: false,
            results: Vec::new(),
        }
    }
}

impl World {
    /// The next instant and version.
    fn tick(&mut self) -> (i64, u64) {
        self.version += 1;
        self.clock += if self.version < CLOSER { APART } else { 1_000 };
        (START + self.clock, self.version)
    }

    /// So many new people.
    pub fn fill(&mut self, count: u64) {
        let from = self.people.last_key_value().map_or(1, |(no, _)| no + 1);
        for no in from..from + count {
            let (changed, version) = self.tick();
            let person = Person {
                no,
                email: format!("person{no}@example.org"),
                first: format!("First{no}"),
                last: format!("Last{no}"),
                changed,
                deleted: false,
                version,
            };
            self.people.insert(no, person);
        }
    }

    /// Somebody changes.
    pub fn change(&mut self, no: u64) {
        let (changed, version) = self.tick();
        if let Some(person) = self.people.get_mut(&no) {
            person.first = format!("Changed{version}");
            (person.changed, person.version) = (changed, version);
        }
    }

    /// Somebody changes at this moment, by the clock of the machine.
    pub fn change_now(&mut self, no: u64) {
        self.change(no);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        if let Some(person) = self.people.get_mut(&no) {
            person.changed = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        }
    }

    /// Many change at the same instant.
    pub fn change_at_once(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let (changed, version) = self.tick();
        for no in numbers {
            if let Some(person) = self.people.get_mut(&no) {
                person.first = format!("Changed{version}");
                (person.changed, person.version) = (changed, version);
            }
        }
    }

    /// Somebody is deleted.
    pub fn remove(&mut self, no: u64) {
        let (changed, version) = self.tick();
        if let Some(person) = self.people.get_mut(&no) {
            person.deleted = true;
            (person.changed, person.version) = (changed, version);
        }
    }

    /// Who is there.
    pub fn present(&self) -> impl Iterator<Item = &Person> {
        self.people.values().filter(|person| !person.deleted)
    }

    /// A page of who is there, by number, behind another; and the last number where there are more.
    pub(crate) fn after(&self, no: u64, most: usize) -> (Vec<&Person>, Option<u64>) {
        let rest = self
            .people
            .range(no + 1..)
            .map(|(_, person)| person)
            .filter(|person| !person.deleted);
        page(rest, self.most(most))
    }

    /// Everybody, in order of change, behind a time and a number.
    pub(crate) fn by_change(&self, behind: (i64, u64)) -> Vec<&Person> {
        let mut people: Vec<&Person> = self
            .people
            .values()
            .filter(|person| (person.changed, person.no) > behind)
            .collect();
        people.sort_by_key(|person| (person.changed, person.no));
        people
    }

    /// So many at most, unless the test wants smaller pages.
    pub(crate) fn most(&self, asked: usize) -> usize {
        self.page.unwrap_or(asked).min(asked)
    }

    /// The token that counts.
    pub(crate) fn token(&self) -> String {
        format!("token-{}-of-the-fake", self.token)
    }

    /// A new token.
    pub(crate) fn issue(&mut self) -> String {
        self.revoked = false;
        self.token()
    }

    /// No token or credential counts any more.
    pub(crate) fn expire(&mut self) {
        self.token += 1;
        self.revoked = true;
    }

    /// The credential counts again.
    pub(crate) fn restore(&mut self) {
        self.revoked = false;
    }

    /// Whether a token that was issued, or a credential, counts.
    pub(crate) fn counts(&self, given: Option<&str>, expected: &str) -> bool {
        !self.revoked && given == Some(expected)
    }
}

/// So many people, and the number of the last where there are more.
pub(crate) fn page<'a>(
    people: impl Iterator<Item = &'a Person>,
    most: usize,
) -> (Vec<&'a Person>, Option<u64>) {
    let mut page: Vec<&Person> = people.take(most + 1).collect();
    let more = page.len() > most;
    page.truncate(most);
    let last = page.last().map(|person| person.no).filter(|_| more);
    (page, last)
}
