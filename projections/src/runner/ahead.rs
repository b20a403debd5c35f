//! The next page of the log is read, and opened, while the one before it is applied.

use roster_store::{Cell, Recorded, StoreError};
use tokio::task::JoinSet;

/// Pages for a projection that may be far behind.
pub(crate) struct Ahead {
    cell: Cell,
    /// The position that the page comes after, and how many events it has at most.
    from: i64,
    limit: i64,
    /// One page on its way, or none. A stop need not wait for it: it only reads.
    next: JoinSet<Result<Vec<Recorded>, StoreError>>,
}

impl Ahead {
    pub(crate) fn new(cell: Cell) -> Self {
        Self {
            cell,
            from: 0,
            limit: 0,
            next: JoinSet::new(),
        }
    }

    /// The events after a position, about `limit` at most; a page as long as that has the next one begun.
    pub(crate) async fn read(
        &mut self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        if self.from != after {
            self.forget();
        }
        let page = match self.next.join_next().await {
            Some(page) => page.map_err(|_| StoreError::Closed)??,
            None => self.cell.read_page(after, limit).await?,
        };
        if let Some(last) = page.last()
            && i64::try_from(page.len()).is_ok_and(|events| events >= limit)
        {
            let (cell, from) = (self.cell.clone(), last.position);
            (self.from, self.limit) = (from, limit);
            self.next
                .spawn(async move { cell.read_page(from, limit).await });
        }
        Ok(page)
    }

    /// Whether the page after a position was begun.
    pub(crate) fn has_begun(&self, after: i64) -> bool {
        self.from == after && !self.next.is_empty()
    }

    /// The page that was begun. Whoever stops waiting loses nothing.
    pub(crate) async fn begun(&mut self) -> Result<Vec<Recorded>, StoreError> {
        self.read(self.from, self.limit).await
    }

    /// Drops what was begun.
    pub(crate) fn forget(&mut self) {
        self.next = JoinSet::new();
    }
}
