//! Identities that are nobody's, page by page, the newest first.

use roster_domain::Timestamp;
use roster_domain::value::fold::{digits, fold};
use roster_store::unmatched::UnmatchedPlace;
pub use roster_store::unmatched::UnmatchedRow;
use roster_store::{Cell, Project};
use uuid::Uuid;

use crate::QueryError;
use crate::customers::{Cursor, Key};
use crate::identities::IdentityFilter;

/// Beyond it rows are neither counted nor searched; a project has fewer unless it is configured otherwise.
const BOUND: i64 = 10_000;

/// A page of identities.
#[derive(Clone, Debug)]
pub struct UnmatchedPage {
    /// The newest first.
    pub rows: Vec<UnmatchedRow>,
    /// How many there are; `None` beyond 10,000.
    pub total: Option<i64>,
    /// At least so many, where `total` is `None`.
    pub total_at_least: Option<i64>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Cursor>,
}

/// A page of a project's unmatched identities: `page` counts from 1; with `after` it starts behind that place instead.
pub async fn list(
    cell: &Cell,
    project: &Project,
    filter: &IdentityFilter,
    after: Option<&Cursor>,
    page: u32,
    page_size: u32,
) -> Result<UnmatchedPage, QueryError> {
    let fingerprint = filter.fingerprint("unmatched", project.no);
    let before = after
        .map(|cursor| place(cursor.key(fingerprint)?))
        .transpose()?;
    let offset = if before.is_some() {
        0
    } else {
        i64::from(page.saturating_sub(1)) * i64::from(page_size)
    };
    let channel = filter.channel.as_deref();
    let size = usize::try_from(page_size).unwrap_or(usize::MAX);
    let (mut rows, total) = match filter.term() {
        None => {
            let limit = i64::from(page_size) + 1;
            let rows = cell.unmatched(project, channel, before.as_ref(), offset, limit);
            let rows = rows.await?;
            (
                rows,
                cell.count_unmatched(project, channel, BOUND + 1).await?,
            )
        }
        Some(term) => {
            // Rows are sealed, so a search opens them.
            let mut found = cell.unmatched(project, channel, None, 0, BOUND).await?;
            found.retain(|row| has(row, &term));
            let total = i64::try_from(found.len()).unwrap_or(BOUND);
            let is_before = |row: &UnmatchedRow| {
                let last = before.as_ref();
                last.is_none_or(|last| {
                    (row.last_seen_at, &row.identity_key) < (last.last_seen_at, &last.identity_key)
                })
            };
            let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
            let rows = found.into_iter().filter(is_before).skip(skipped);
            (rows.take(size.saturating_add(1)).collect(), total)
        }
    };
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|last| {
        // A keyed hash has as many bytes as a UUID, which has a text form.
        let identity = Uuid::from_slice(&last.identity_key).unwrap_or_default();
        let key = Key {
            at: Timestamp::from(last.last_seen_at),
            id: identity.to_string(),
        };
        Cursor::new(fingerprint, key)
    });
    Ok(UnmatchedPage {
        rows,
        total: Some(total).filter(|total| *total <= BOUND),
        total_at_least: Some(BOUND).filter(|_| total > BOUND),
        next,
    })
}

/// The place of a cursor.
fn place(key: &Key) -> Result<UnmatchedPlace, QueryError> {
    let identity = Uuid::try_parse(&key.id).map_err(|_| QueryError::InvalidCursor)?;
    Ok(UnmatchedPlace {
        last_seen_at: key.at.to_utc(),
        identity_key: identity.as_bytes().to_vec(),
    })
}

/// Whether a folded term is in what is known of an identity, or is in the digits of a number.
fn has(row: &UnmatchedRow, term: &str) -> bool {
    row.seen.values().any(|value| {
        fold(value).contains(term) || (value.starts_with('+') && digits(value).contains(term))
    })
}
