//! Which customers a purge could not erase, and why: table `view_purge_failures`.
//!
//! The detail is copied as it was sealed; [`list`] opens it.

use std::collections::BTreeSet;

use roster_domain::purge::{FAILURE_PART, FailureDetail, StoredFailure};
use roster_store::Cell;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::QueryError;

/// One customer who could not be erased.
#[derive(Clone, PartialEq, Eq)]
pub struct PurgeFailureRow {
    /// The id; `None` where that person was erased since, or never was known.
    pub customer_user_id: Option<String>,
    /// Why.
    pub reason: String,
}

impl std::fmt::Debug for PurgeFailureRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PurgeFailureRow({})", self.reason)
    }
}

/// The first failures of a purge in their order. The caller checks whose purge it is.
pub async fn list(
    cell: &Cell,
    purge_id: Uuid,
    limit: u32,
) -> Result<Vec<PurgeFailureRow>, QueryError> {
    let rows: Vec<(Option<Uuid>, String, Vec<u8>)> = sqlx::query_as(
        "SELECT about,
                reason,
                detail
           FROM view_purge_failures
          WHERE purge_id = $1
          ORDER BY position, ordinal
          LIMIT $2",
    )
    .bind(purge_id)
    .bind(i64::from(limit))
    .fetch_all(cell.pool())
    .await?;
    let mut failures = Vec::with_capacity(rows.len());
    for (about, reason, sealed) in rows {
        // One at a time: a record that cannot be read has a key that cannot be opened either, and hides nobody else.
        let opened = cell
            .open_for(about.unwrap_or(purge_id), FAILURE_PART, &sealed)
            .await;
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(_) => None,
        };
        let detail = plain.and_then(|plain| FailureDetail::decode(&plain));
        failures.push(PurgeFailureRow {
            customer_user_id: detail.and_then(|detail| detail.customer_user_id),
            reason,
        });
    }
    Ok(failures)
}

/// The failures of a page.
#[derive(Default)]
pub(crate) struct Failures {
    found: Vec<(Uuid, i64, Vec<StoredFailure>)>,
    expired: BTreeSet<Uuid>,
}

impl Failures {
    pub(crate) fn collect(&mut self, purge_id: Uuid, position: i64, failures: Vec<StoredFailure>) {
        if !failures.is_empty() {
            self.found.push((purge_id, position, failures));
        }
    }

    /// The failures go: the key of the purge is destroyed.
    pub(crate) fn expire(&mut self, purge_id: Uuid) {
        self.found.retain(|(id, ..)| *id != purge_id);
        self.expired.insert(purge_id);
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.expired.is_empty() {
            let expired: Vec<Uuid> = self.expired.iter().copied().collect();
            sqlx::query("DELETE FROM view_purge_failures WHERE purge_id = ANY($1)")
                .bind(expired)
                .execute(&mut *connection)
                .await?;
        }
        if self.found.is_empty() {
            return Ok(());
        }
        let (mut purge, mut place, mut ordinal) = (vec![], vec![], vec![]);
        let (mut about, mut reason): (Vec<Option<Uuid>>, Vec<&str>) = (vec![], vec![]);
        let mut detail: Vec<&[u8]> = vec![];
        for (purge_id, position, failures) in &self.found {
            for (number, failure) in (0_i32..).zip(failures) {
                purge.push(*purge_id);
                place.push(*position);
                ordinal.push(number);
                about.push(failure.about);
                reason.push(failure.reason.as_str());
                detail.push(&failure.detail);
            }
        }
        sqlx::query(
            "INSERT INTO view_purge_failures (
                    purge_id,
                    position,
                    ordinal,
                    about,
                    reason,
                    detail)
             SELECT *
               FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::uuid[], $5::text[], $6::bytea[])
                 ON CONFLICT DO NOTHING",
        )
        .bind(purge)
        .bind(place)
        .bind(ordinal)
        .bind(about)
        .bind(reason)
        .bind(detail)
        .execute(connection)
        .await?;
        Ok(())
    }
}
