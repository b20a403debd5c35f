//! How tables are filled: pages are read, rows are made and rows are copied in, all three at once.

use std::collections::HashSet;

use futures::stream::{self, Stream, TryStreamExt};
use roster_store::{Cell, Recorded, StoreError};
use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::rows::Rows;
use crate::page::PageError;

/// Streams of one page.
const STREAMS: i64 = 2_000;
/// Bytes that are copied in by one statement, which is a transaction of its own.
const COPIED: usize = 1 << 20;
/// Pages and copies that may wait.
const WAITING: usize = 2;

/// What a projection is filled with.
pub(crate) struct Filling<'a> {
    /// The cell, whose connections look for tables among the new ones first.
    pub(crate) cell: Cell,
    /// The last position to be folded.
    pub(crate) to: i64,
    /// Streams that the projection leaves out.
    pub(crate) parked: HashSet<Uuid>,
    pub(crate) tracker: &'a TaskTracker,
    /// Told how many more events, or rows, were read.
    pub(crate) progress: &'a (dyn Fn(usize) + Send + Sync),
}

impl Filling<'_> {
    /// The whole log up to the position, stream by stream: a stream's events follow each other, so it is folded without
    /// remembering any other. Streams that are left out are not given.
    pub(crate) fn streams(&self) -> impl Stream<Item = Result<Vec<Recorded>, PageError>> + Unpin {
        let (cell, to) = (self.cell.clone(), self.to);
        let ranges = stream::try_unfold(Uuid::nil(), move |after| {
            let cell = cell.clone();
            async move {
                let next = cell.next_streams(after, STREAMS).await?;
                Ok::<_, PageError>(next.map(|streams| {
                    let last = streams.last();
                    (streams, last)
                }))
            }
        });
        // Tasks of their own: while one page is opened here, Postgres reads the next.
        let pages = ranges.map_ok(move |streams| {
            let (cell, parked) = (self.cell.clone(), self.parked.clone());
            let read = self.tracker.spawn(async move {
                let mut page = cell.read_streams(&streams, to).await?;
                page.retain(|recorded| !parked.contains(&recorded.stream));
                Ok::<_, PageError>(page)
            });
            async move {
                match read.await {
                    Ok(page) => page,
                    Err(_) => Err(PageError::Store(StoreError::Closed)),
                }
            }
        });
        Box::pin(pages.try_buffered(WAITING))
    }

    /// Where rows of a table go; `columns` as COPY wants them.
    pub(crate) fn copier(&self, table: &str, columns: &str) -> Copier {
        let (copies, receiver) = mpsc::channel(WAITING);
        let statement = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
        let pool = self.cell.pool().clone();
        Copier {
            rows: Rows::with_room(COPIED),
            copies,
            ended: self.tracker.spawn(copy(pool, statement, receiver)),
        }
    }
}

async fn copy(
    pool: PgPool,
    statement: String,
    mut copies: mpsc::Receiver<Vec<u8>>,
) -> Result<(), sqlx::Error> {
    while let Some(bytes) = copies.recv().await {
        let mut copy = pool.copy_in_raw(&statement).await?;
        copy.send(bytes).await?;
        copy.finish().await?;
    }
    Ok(())
}

/// Rows of one table on their way to the database.
pub(crate) struct Copier {
    pub(crate) rows: Rows,
    copies: mpsc::Sender<Vec<u8>>,
    ended: JoinHandle<Result<(), sqlx::Error>>,
}

impl Copier {
    /// Hands on what was gathered, if it is enough.
    pub(crate) async fn flush(&mut self) {
        if self.rows.size() >= COPIED {
            self.send().await;
        }
    }

    /// A copy that failed has closed the queue; `finish` says why.
    async fn send(&mut self) {
        let rows = std::mem::replace(&mut self.rows, Rows::with_room(COPIED));
        drop(self.copies.send(rows.finish()).await);
    }

    /// Whether the database refused something, so that going on is in vain.
    pub(crate) fn failed(&self) -> bool {
        self.copies.is_closed()
    }

    /// Hands on the rest and waits until everything is written.
    pub(crate) async fn finish(mut self) -> Result<(), PageError> {
        if self.rows.count > 0 {
            self.send().await;
        }
        drop(self.copies);
        match self.ended.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(PageError::Store(StoreError::Closed)),
        }
    }
}
