//! Between reading and writing: pages that were read wait here until there are enough of them, or they have waited long enough.
//!
//! A vendor's page is a hundred records, and an append of a hundred costs hardly less than one of thousands. Reading goes on
//! meanwhile, as far as there is room: memory stays the same whatever the source's size.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::source::{Page, Record};

/// Records that are written together; reading waits while so many are there.
const ENOUGH: usize = 4_000;
/// How long a page waits for others.
const LINGER: Duration = Duration::from_millis(200);

/// Pages that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// How many they are.
    pub(super) pages: u64,
    /// Where the walk goes on behind the last one; `None` after its clean end.
    pub(super) place: Option<Value>,
    /// The last cursor among them.
    pub(super) cursor: Option<Value>,
}

impl Batch {
    fn add(&mut self, page: Page) {
        self.records.extend(page.records);
        self.pages += 1;
        self.place = page.place;
        self.cursor = page.cursor.or(self.cursor.take());
    }
}

/// The pages on their way from one reader to one writer.
#[derive(Default)]
pub(super) struct Gathering {
    state: Mutex<State>,
    /// Something came, or nothing will.
    came: Notify,
    /// Something was taken.
    taken: Notify,
}

#[derive(Default)]
struct State {
    pages: VecDeque<Page>,
    records: usize,
    /// When the first of them came.
    since: Option<Instant>,
    is_over: bool,
}

impl State {
    /// Whether these pages are to be written, however many more may come.
    fn is_due(&self) -> bool {
        self.is_over || self.records >= ENOUGH || self.pages.iter().any(tells_of_deletions)
    }

    /// As many pages as belong together: with no more records than these, unless it is a single page. A page that tells of
    /// deletions stays alone, so that what it says comes after what was said before, and before what is said later.
    fn take(&mut self, most: usize) -> Option<Batch> {
        let mut batch = Batch::default();
        while let Some(page) = self.pages.front() {
            let is_alone = tells_of_deletions(page);
            let is_large = batch.records.len() + page.records.len() > most.min(ENOUGH);
            if batch.pages > 0 && (is_alone || is_large) {
                break;
            }
            self.records -= page.records.len();
            batch.add(self.pages.pop_front()?);
            if is_alone {
                break;
            }
        }
        (batch.pages > 0).then_some(batch)
    }
}

fn tells_of_deletions(page: &Page) -> bool {
    page.records.iter().any(|record| record.deleted)
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another page may be read.
    pub(super) async fn room(&self) {
        while self.state().records >= ENOUGH {
            self.taken.notified().await;
        }
    }

    /// Takes a page in.
    pub(super) fn put(&self, page: Page) {
        let mut state = self.state();
        state.since.get_or_insert_with(Instant::now);
        state.records += page.records.len();
        state.pages.push_back(page);
        drop(state);
        self.came.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.state().is_over = true;
        self.came.notify_one();
    }

    /// Pages that are to be written now, if any.
    pub(super) fn due(&self, most: usize) -> Option<Batch> {
        let mut state = self.state();
        let is_old = |since: Instant| since + LINGER <= Instant::now();
        if !state.is_due() && !state.since.is_some_and(is_old) {
            return None;
        }
        let batch = state.take(most);
        state.since = (!state.pages.is_empty()).then(Instant::now);
        drop(state);
        self.taken.notify_one();
        batch
    }

    /// The next pages that are to be written, with no more records than these if they are several; `None` once there will be
    /// no more.
    pub(super) async fn next(&self, most: usize) -> Option<Batch> {
        loop {
            if let Some(batch) = self.due(most) {
                return Some(batch);
            }
            let (since, is_over) = {
                let state = self.state();
                (state.since, state.is_over && state.pages.is_empty())
            };
            if is_over {
                return None;
            }
            match since {
                // Whichever is first.
                Some(since) => drop(timeout_at(since + LINGER, self.came.notified()).await),
                None => self.came.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ENOUGH, Gathering};
    use crate::sync::source::{Page, Record};

    fn page(count: usize, deleted: bool, at: u64) -> Page {
        let record = Record {
            deleted,
            ..Record::default()
        };
        Page {
            records: vec![record; count],
            place: Some(json!(at)),
            cursor: None,
        }
    }

    #[tokio::test]
    async fn pages_are_gathered_until_they_are_enough_or_old() {
        let gathering = Gathering::default();
        gathering.put(page(10, false, 1));
        gathering.put(page(10, false, 2));
        let batch = gathering
            .next(ENOUGH)
            .await
            .expect("they waited long enough");
        assert_eq!((batch.pages, batch.records.len()), (2, 20));
        assert_eq!(batch.place, Some(json!(2)));
        gathering.put(page(ENOUGH, false, 3));
        gathering.put(page(10, false, 4));
        assert_eq!(gathering.next(ENOUGH).await.expect("enough").pages, 1);
        gathering.put(page(10, false, 5));
        gathering.end();
        assert_eq!(gathering.next(15).await.expect("no more").pages, 1);
        assert_eq!(gathering.next(ENOUGH).await.expect("the rest").pages, 1);
        assert!(gathering.next(ENOUGH).await.is_none());
    }

    #[tokio::test]
    async fn a_page_that_tells_of_deletions_stays_in_its_place() {
        let gathering = Gathering::default();
        for (at, deleted) in [(1, false), (2, true), (3, false)] {
            gathering.put(page(1, deleted, at));
        }
        gathering.end();
        for at in 1..=3 {
            let batch = gathering.next(ENOUGH).await.expect("a page");
            assert_eq!((batch.pages, batch.place), (1, Some(json!(at))));
        }
    }

    #[tokio::test]
    async fn reading_waits_while_enough_is_there() {
        let gathering = Gathering::default();
        gathering.room().await;
        gathering.put(page(ENOUGH, false, 1));
        let (batch, ()) = tokio::join!(gathering.next(ENOUGH), gathering.room());
        assert!(batch.is_some());
    }
}
