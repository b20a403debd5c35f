//! Which agents were dispatched for whom: pages of the journal, with the customers of now.

use std::collections::HashMap;

use roster_domain::Timestamp;
pub use roster_store::journal::JournalFilter;
use roster_store::journal::{JournalPlace, JournalRow};
use roster_store::{Cell, Project};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::QueryError;
use crate::bucket::first_eight;
use crate::customers::{self, Cursor, Key};

/// One dispatch as it is listed.
#[derive(Clone, Debug)]
pub struct DispatchRow {
    /// What the journal has.
    pub journal: JournalRow,
    /// The customer's id, while there is one.
    pub customer_user_id: Option<String>,
}

/// A page of dispatches.
#[derive(Clone, Debug)]
pub struct DispatchPage {
    /// The newest first.
    pub rows: Vec<DispatchRow>,
    /// How many there are; `None` beyond 10,000.
    pub total: Option<i64>,
    /// At least so many, where `total` is `None`.
    pub total_at_least: Option<i64>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Cursor>,
}

/// A page of a project's dispatches; with `after` it starts behind that place.
pub async fn list(
    cell: &Cell,
    project: &Project,
    mut filter: JournalFilter,
    after: Option<&Cursor>,
) -> Result<DispatchPage, QueryError> {
    let fingerprint = fingerprint(project.no, &filter);
    filter.before = after
        .map(|cursor| {
            let key = cursor.key(fingerprint)?;
            Ok::<_, QueryError>(JournalPlace {
                recorded_at: key.at.to_utc(),
                position: key.id.parse().map_err(|_| QueryError::InvalidCursor)?,
            })
        })
        .transpose()?;
    let found = cell.journal_page(project, &filter).await?;
    let ids = ids(cell, project.no, &found.rows).await?;
    let next = found.next.map(|place| {
        let key = Key {
            at: Timestamp::from(place.recorded_at),
            id: place.position.to_string(),
        };
        Cursor::new(fingerprint, key)
    });
    let rows = found.rows.into_iter().map(|journal| DispatchRow {
        customer_user_id: journal
            .customer_ref
            .and_then(|customer| ids.get(&customer).cloned()),
        journal,
    });
    Ok(DispatchPage {
        rows: rows.collect(),
        total: found.total,
        total_at_least: found.total_at_least,
        next,
    })
}

async fn ids(
    cell: &Cell,
    project_no: i32,
    rows: &[JournalRow],
) -> Result<HashMap<Uuid, String>, QueryError> {
    let mut streams: Vec<Uuid> = rows.iter().filter_map(|row| row.customer_ref).collect();
    streams.sort_unstable();
    streams.dedup();
    let found = customers::get_many_by_stream(cell.pool(), project_no, &streams).await?;
    Ok(found
        .into_iter()
        .map(|customer| (customer.customer_ref, customer.customer_user_id))
        .collect())
}

/// The mark of a list: a cursor is good for its own one only.
fn fingerprint(project_no: i32, filter: &JournalFilter) -> i64 {
    let mut hash = Sha256::new();
    hash.update(b"dispatches");
    hash.update(project_no.to_be_bytes());
    let customer = filter.customer_ref.map(|customer| customer.to_string());
    let times = [filter.from, filter.to].map(|at| at.map(|at| at.timestamp_micros().to_string()));
    let matched = filter.matched.map(|matched| matched.to_string());
    let parts = [
        &customer,
        &filter.endpoint,
        &filter.channel,
        &filter.agent_alias,
        &matched,
        &times[0],
        &times[1],
    ];
    for part in parts {
        let length = part.as_ref().map_or(u64::MAX, |text| text.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(part.as_deref().unwrap_or_default());
    }
    first_eight(hash)
}
