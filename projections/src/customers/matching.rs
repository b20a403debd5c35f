//! Who passes a filter, as streams: what a purge freezes.

use sqlx::PgPool;
use uuid::Uuid;

use super::filter::{Filter, Sort};
use super::list::{Known, List};
use crate::QueryError;

/// Who passes a filter.
#[derive(Clone, PartialEq, Eq)]
pub struct Matching {
    /// How many.
    pub total: u64,
    /// The first of them in the order of their ids: stream and id.
    pub customers: Vec<(Uuid, String)>,
}

impl std::fmt::Debug for Matching {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Matching({})", self.total)
    }
}

/// The first customers of a project who pass a filter, at most `limit`, and how many there are. Order, page and cursor of
/// the filter do not count.
///
/// Everybody who is named passes the filter at one position of the log; the number is exact where all are named.
pub async fn matching(
    pool: &PgPool,
    project_no: i32,
    filter: &Filter,
    limit: u32,
) -> Result<Matching, QueryError> {
    let filter = Filter {
        sort: Sort::CustomerUserId,
        descending: false,
        page: 1,
        page_size: limit,
        cursor: None,
        count_exact: true,
        ..filter.clone()
    };
    let mut list = List::new(pool, project_no, &filter).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let (customers, has_more, known) = if list.shape.narrows() {
        let (mut keys, known) = list.keys().await?;
        let has_more = keys.len() > most;
        keys.truncate(most);
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        // The page was found by several statements. One more finds the streams and judges them again, all in one snapshot.
        let sql = list.shape.streams();
        let query = list.shape.bind(sqlx::query_as(&sql), None, 0, 0, 0);
        let customers: Vec<(Uuid, String)> = query.bind(ids).fetch_all(pool).await?;
        (customers, has_more, known)
    } else {
        let query = sqlx::query_as(list.shape.first_streams());
        let query = list.shape.bind(query, None, i64::from(limit) + 1, 0, 0);
        let mut customers: Vec<(Uuid, String)> = query.fetch_all(pool).await?;
        let has_more = customers.len() > most;
        customers.truncate(most);
        (customers, has_more, Known::Total(list.bucketed))
    };
    let named = customers.len() as u64;
    let total = if has_more {
        let counted = u64::try_from(list.total(known).await?).unwrap_or_default();
        counted.max(named + 1)
    } else {
        named
    };
    Ok(Matching { total, customers })
}
