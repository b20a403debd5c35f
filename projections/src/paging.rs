//! Lists of jobs and connections: a page by its number, or the one behind the last row of another.

use roster_domain::Timestamp;
use uuid::Uuid;

use crate::QueryError;
use crate::bucket::fingerprint;
use crate::customers::{Cursor, Key};

/// Which page of a list.
#[derive(Clone, Debug)]
pub struct Paging {
    /// From 1; of no account where there is a cursor.
    pub page: u32,
    /// The most rows.
    pub page_size: u32,
    /// The end of the page before, as its answer told.
    pub cursor: Option<Cursor>,
}

/// What the rows of a list pass, with its name and project: its cursors are good for nothing else.
pub(crate) struct Kind(i64);

/// Where a list of jobs goes on, newest first.
pub(crate) struct After {
    pub(crate) at: Option<chrono::DateTime<chrono::Utc>>,
    pub(crate) id: Option<Uuid>,
}

impl Kind {
    pub(crate) fn new(list: &str, project_no: i32, filters: &[Option<&str>]) -> Self {
        Self(fingerprint(list, project_no, filters))
    }

    /// What to send for the rows behind one.
    pub(crate) fn cursor(&self, at: Timestamp, id: String) -> Cursor {
        Cursor::new(self.0, Key { at, id })
    }
}

impl Paging {
    /// Where the page begins, if the cursor is of this list.
    pub(crate) fn key(&self, kind: &Kind) -> Result<Option<&Key>, QueryError> {
        let cursor = self.cursor.as_ref();
        cursor.map(|cursor| cursor.key(kind.0)).transpose()
    }

    /// The same for a list that is ordered by time and id.
    pub(crate) fn after(&self, kind: &Kind) -> Result<After, QueryError> {
        let Some(key) = self.key(kind)? else {
            return Ok(After { at: None, id: None });
        };
        let id = Uuid::try_parse(&key.id).map_err(|_| QueryError::InvalidCursor)?;
        Ok(After {
            at: Some(key.at.to_utc()),
            id: Some(id),
        })
    }

    /// Rows to leave out.
    pub(crate) fn offset(&self) -> i64 {
        match self.cursor {
            Some(_) => 0,
            None => i64::from(self.page.saturating_sub(1)) * i64::from(self.page_size),
        }
    }

    /// Rows to ask for: one more than are shown tells whether there are more.
    pub(crate) fn limit(&self) -> i64 {
        i64::from(self.page_size) + 1
    }

    /// Takes off the row that is too many; what to send for the next page, made of the last that is left.
    pub(crate) fn next<T>(
        &self,
        rows: &mut Vec<T>,
        cursor: impl FnOnce(&T) -> Cursor,
    ) -> Option<Cursor> {
        let most = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        if rows.len() <= most {
            return None;
        }
        rows.truncate(most);
        rows.last().map(cursor)
    }
}
