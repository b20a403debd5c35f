//! All customers that pass a filter, in the order of their ids and in constant memory.

use futures::Stream;
use futures::stream::{self, TryStreamExt};
use sqlx::PgPool;

use super::filter::{Cursor, Filter, Sort};
use super::{CustomerRow, list};
use crate::QueryError;

/// Rows that are read at once.
const PAGE: u32 = 1_000;

/// Every customer that passes the filter. Order, page and cursor of the filter do not count.
pub fn export(
    pool: PgPool,
    project_no: i32,
    filter: Filter,
) -> impl Stream<Item = Result<CustomerRow, QueryError>> + Send {
    let filter = Filter {
        sort: Sort::CustomerUserId,
        descending: false,
        page: 1,
        page_size: PAGE,
        cursor: None,
        ..filter
    };
    stream::try_unfold(Some(None), move |next: Option<Option<Cursor>>| {
        let (pool, filter) = (pool.clone(), filter.clone());
        async move {
            let Some(cursor) = next else { return Ok(None) };
            let page = list::rows(&pool, project_no, &Filter { cursor, ..filter }).await?;
            let next = page.next_cursor.map(Some);
            let rows = stream::iter(page.rows.into_iter().map(Ok::<_, QueryError>));
            Ok::<_, QueryError>(Some((rows, next)))
        }
    })
    .try_flatten()
}

/// The names of profile fields that the project ever used and that are not in the list, in byte order.
pub async fn extra_fields(
    pool: &PgPool,
    project_no: i32,
    schema_fields: &[&str],
) -> Result<Vec<String>, QueryError> {
    Ok(sqlx::query_scalar(
        "SELECT name
           FROM view_profile_fields
          WHERE project_no = $1
            AND name <> ALL ($2)
          ORDER BY name",
    )
    .bind(project_no)
    .bind(schema_fields)
    .fetch_all(pool)
    .await?)
}
