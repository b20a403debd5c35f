//! The projection `directory`: customers, data-source counts, field names, links, grants, blocks, schemas, preparations, imports,
//! suppressions, purges,
//! connections and their runs.
//!
//! They are applied in order under one checkpoint, so that an import that reads as completed has its customers listed.
//! The tables that every customer change touches are written by one autocommit statement that also moves the checkpoint;
//! a page that touches others too writes them beside it, in one transaction with the same statement.

mod fill;
mod others;
mod prepared;
mod statement;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use roster_domain::customer::Customer;
use roster_store::{Cell, Link, Recorded, StoreError};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use self::others::Others;
use self::prepared::Prepared;
use crate::customers::fold::{Change, FieldNames, Folded, Listed, Needed, fold, needed};
use crate::customers::write::present;
use crate::page::PageError;
use crate::parked;
use crate::runner::ahead::Ahead;
use crate::runner::{IDLE, Item, Projection, Step};
use crate::search::Search;
use crate::search::touched::{Touch, Touched};

/// Customers that change often need no read before they are written. More than a page has: the tables do not show the
/// rows of the page that is being written while the next one is prepared.
const CACHED_ROWS: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");
/// Field names that are known to be stored; beyond it they are written again.
const KNOWN_FIELDS: usize = 100_000;

impl Item for Recorded {
    fn position(&self) -> i64 {
        self.position
    }

    fn stream(&self) -> Uuid {
        self.stream
    }

    fn project_no(&self) -> i32 {
        self.project_no
    }

    fn scrubs(&self) -> bool {
        self.name() == Some("customer.erased")
    }
}

pub(crate) struct Directory {
    cell: Cell,
    /// Its pages are written on one connection.
    link: Arc<Mutex<Link>>,
    head: watch::Receiver<i64>,
    /// Whether the log is asked for events that this server has not heard of.
    looks: bool,
    ahead: Ahead,
    touched: Arc<Touched>,
    /// The page that follows, and what it does, if that was found out while the last one was written.
    next: Option<Vec<Recorded>>,
    prepared: Option<Prepared>,
    /// Rows as they are once every page that was prepared is written.
    rows: LruCache<Uuid, Listed>,
    /// The streams whose rows go with the page that was prepared last.
    gone: HashSet<Uuid>,
    known_fields: FieldNames,
    others: Others,
    /// Counts and field names of a rebuild, which are written when all are known.
    totals: Folded,
}

impl Directory {
    pub(crate) fn new(cell: Cell, touched: Arc<Touched>) -> Self {
        Self {
            head: cell.head(),
            looks: true,
            ahead: Ahead::new(cell.clone()),
            link: Arc::new(Mutex::new(Link::new(cell.pool().clone()))),
            cell,
            touched,
            next: None,
            prepared: None,
            rows: LruCache::new(CACHED_ROWS),
            gone: HashSet::new(),
            known_fields: FieldNames::default(),
            others: Others::default(),
            totals: Folded::default(),
        }
    }

    /// Decodes: customers come back, the others' rows are collected.
    async fn sort(&mut self, page: &[&Recorded]) -> Result<Vec<Change>, PageError> {
        // What a page left that failed.
        drop(self.others.take());
        let mut changes = Vec::with_capacity(page.len());
        for recorded in page {
            if let Some(event) = self.others.collect(&self.cell, recorded).await? {
                self.recall(recorded);
                changes.push(Change {
                    position: recorded.position,
                    project_no: recorded.project_no,
                    stream: recorded.stream,
                    event,
                });
            }
        }
        Ok(changes)
    }

    /// Remembers the row of a customer as it was before an event, where the log still has that in memory.
    fn recall(&mut self, recorded: &Recorded) {
        if let Some(before) = recorded.state_before::<Customer>()
            && !self.rows.contains(&recorded.stream)
        {
            let row = Listed::before(recorded, before);
            self.rows.put(recorded.stream, row);
        }
    }

    /// The present rows of the customers that change: remembered, or read with one statement.
    async fn present(&mut self, changes: &[Change]) -> Result<HashMap<Uuid, Listed>, PageError> {
        let mut rows = HashMap::new();
        let mut missing = Vec::new();
        for needed in needed(changes) {
            match self.rows.pop(&needed.stream) {
                Some(row) => {
                    rows.insert(needed.stream, row);
                }
                None if self.gone.contains(&needed.stream) => {}
                None => missing.push(needed),
            }
        }
        if !missing.is_empty() {
            rows.extend(present(self.cell.pool(), missing.into_iter()).await?);
        }
        Ok(rows)
    }

    async fn fold(&mut self, page: &[&Recorded]) -> Result<Folded, PageError> {
        let changes = self.sort(page).await?;
        let rows = self.present(&changes).await?;
        Ok(fold(changes, rows))
    }

    /// Makes the statement of a page that was folded, and remembers its rows as if they were written: whoever does not
    /// write them has to forget everything.
    fn prepare(
        &mut self,
        mut folded: Folded,
        events: usize,
        step: Step,
    ) -> Result<Prepared, PageError> {
        folded.fields.remove(&self.known_fields);
        let prepared = Prepared::new(&folded, self.others.take(), events, step)?;
        if self.known_fields.len() > KNOWN_FIELDS {
            self.known_fields.clear();
        }
        self.known_fields.absorb(folded.fields);
        let unread = folded.unread.iter().map(|(_, stream)| *stream);
        self.gone = folded.deletes.iter().map(|gone| gone.stream).collect();
        self.gone.extend(unread);
        for stream in &self.gone {
            self.rows.pop(stream);
        }
        for (stream, row) in folded.inserts.into_iter().chain(folded.upserts) {
            self.rows.put(stream, row);
        }
        Ok(prepared)
    }

    /// Writes a page, and prepares the next one meanwhile if it was read by then.
    async fn write(&mut self, prepared: Prepared, step: Step) -> Result<(), PageError> {
        if !self.ahead.has_begun(step.to) {
            return prepared
                .write(self.cell.clone(), Arc::clone(&self.link))
                .await;
        }
        let mut writing = JoinSet::new();
        writing.spawn(prepared.write(self.cell.clone(), Arc::clone(&self.link)));
        let next = tokio::select! {
            written = writing.join_next() => return joined(written),
            page = self.ahead.begun() => page,
        };
        if let Ok(page) = next {
            self.prepare_next(page, step).await;
        }
        joined(writing.join_next().await)
    }

    /// What fails here fails again when it is the page's turn.
    async fn prepare_next(&mut self, page: Vec<Recorded>, last: Step) {
        let Some(to) = page.last().map(|recorded| recorded.position) else {
            return;
        };
        let step = Step {
            from: last.to,
            to,
            ..last
        };
        let events: Vec<&Recorded> = page.iter().collect();
        let folded = self.fold(&events).await;
        let prepared = folded.and_then(|folded| self.prepare(folded, page.len(), step));
        self.prepared = prepared.ok();
        self.next = Some(page);
    }
}

fn joined(written: Option<Result<Result<(), PageError>, JoinError>>) -> Result<(), PageError> {
    match written {
        Some(Ok(written)) => written,
        Some(Err(_)) | None => Err(PageError::Store(StoreError::Closed)),
    }
}

impl Projection for Directory {
    const NAME: &'static str = "directory";
    const VERSION: i32 = 1;
    const PACES_BULK: bool = true;
    const SCRUB: &'static [(&'static str, &'static str)] = &[
        (
            "view_customers",
            "UPDATE {table}
                SET customer_user_id = chr(1) || stream_id::text,
                    display_name = '',
                    profile = '{}',
                    source_external_id = NULL
              WHERE stream_id = ANY ($1)",
        ),
        (
            "view_identities",
            "DELETE FROM {table} WHERE stream_id = ANY ($1)",
        ),
        (
            "view_grants",
            "DELETE FROM {table} WHERE stream_id = ANY ($1)",
        ),
        (
            "view_blocks",
            "DELETE FROM {table} WHERE stream_id = ANY ($1)",
        ),
    ];
    type Item = Recorded;

    fn forget(&mut self) {
        self.ahead.forget();
        self.next = None;
        self.prepared = None;
        self.rows.clear();
        self.gone.clear();
        self.known_fields.clear();
        self.others.forget();
    }

    async fn read(&mut self, after: i64, limit: i64) -> Result<Vec<Recorded>, StoreError> {
        if let Some(page) = self.next.take()
            && page.first().is_some_and(|first| first.position > after)
        {
            return Ok(page);
        }
        // Marked as seen first, so that an append during the read wakes the next wait.
        let head = *self.head.borrow_and_update();
        if head <= after && !std::mem::take(&mut self.looks) {
            return Ok(Vec::new());
        }
        self.ahead.read(after, limit).await
    }

    async fn wait(&mut self, position: i64) {
        let more = self.head.wait_for(|head| *head > position);
        // Another server's appends are seen by looking; a closed channel means the same.
        self.looks = !matches!(tokio::time::timeout(IDLE, more).await, Ok(Ok(_)));
    }

    async fn apply(&mut self, page: &[&Recorded], step: Step) -> Result<(), PageError> {
        let prepared = match self.prepared.take() {
            Some(prepared) if prepared.is_of(page.len(), step) => prepared,
            other => {
                if other.is_some() {
                    // Streams were left out since.
                    self.forget();
                }
                let folded = self.fold(page).await?;
                self.prepare(folded, page.len(), step)?
            }
        };
        match self.write(prepared, step).await {
            Err(error) if error.is_taken() => {
                self.forget();
                let mut folded = self.fold(page).await?;
                folded.expect_rows();
                let prepared = self.prepare(folded, page.len(), step)?;
                self.write(prepared, step).await?;
            }
            written => written?,
        }
        self.touched.push(
            step.from,
            page.iter().map(|recorded| Touch::of(recorded)),
            step.to,
        );
        Ok(())
    }

    async fn refold(&mut self, project_no: i32, stream: Uuid, step: Step) -> Result<(), PageError> {
        let events = self.cell.read_stream(stream, 0).await?;
        let events: Vec<&Recorded> = events
            .iter()
            .filter(|recorded| recorded.position <= step.to)
            .collect();
        self.rows.pop(&stream);
        let changes = self.sort(&events).await?;
        let rows = present(
            self.cell.pool(),
            std::iter::once(Needed::row(project_no, stream)),
        )
        .await?;
        let prepared = self.prepare(fold(changes, rows), events.len(), step)?;
        self.write(prepared, step).await?;
        Ok(parked::hand_on(self.cell.pool(), Search::NAME, stream, project_no, step.to).await?)
    }
}
