//! Who holds thousands of claims, for bulk work: one statement, whose first rows are opened while Postgres looks for the next.

use futures::TryStreamExt;
use roster_domain::stream::{Claim, Stream};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::task::spawn_blocking;

use crate::streams::{COLUMNS, Loaded, Opened};
use crate::{Cell, Project, StoreError};

/// Rows that are worth a task: opening one takes some microseconds.
const PART: usize = 256;
/// Parts that are opened at once.
const AT_ONCE: usize = 2;

impl Cell {
    /// The streams that hold claims of one kind, with their states, in the order asked and with one statement.
    pub async fn load_holders<A: Stream + 'static>(
        &self,
        project: &Project,
        kind: i16,
        claims: &[Claim],
    ) -> Result<Vec<Option<Loaded<A>>>, StoreError> {
        let keys: Vec<Vec<u8>> = claims
            .iter()
            .map(|claim| project.claim_key(claim))
            .collect();
        let sql = format!(
            "SELECT wanted.ord, {COLUMNS}
               FROM unnest($3::bytea[]) WITH ORDINALITY AS wanted(key, ord)
              CROSS JOIN LATERAL (
                    SELECT h.stream_id
                      FROM log_claims h
                     WHERE h.project_no = $1 AND h.kind = $2 AND h.key = wanted.key
                    OFFSET 0) c
              CROSS JOIN LATERAL (SELECT * FROM log_streams o WHERE o.stream_id = c.stream_id OFFSET 0) s"
        );
        let rows = sqlx::query(&sql)
            .bind(project.no)
            .bind(kind)
            .bind(&keys)
            .fetch(self.pool());
        let (vault, project_no) = (self.vault().clone(), project.no);
        let parts = rows
            .try_chunks(PART)
            .map_err(|error| StoreError::from(error.1))
            .map_ok(move |part| {
                let vault = vault.clone();
                let opening = spawn_blocking(move || {
                    let rows = part.iter();
                    rows.map(|row| Ok((place(row)?, Opened::read(&vault, project_no, row)?)))
                        .collect::<Result<Vec<(usize, Opened<A>)>, StoreError>>()
                });
                async move { opening.await.map_err(|_| StoreError::Closed)? }
            })
            .try_buffered(AT_ONCE);
        // Folding takes a connection, so nothing is folded while this one is in use.
        let opened: Vec<Vec<(usize, Opened<A>)>> = parts.try_collect().await?;
        let mut holders: Vec<Option<Loaded<A>>> = (0..claims.len()).map(|_| None).collect();
        for (place, opened) in opened.into_iter().flatten() {
            let loaded = self.settled(opened).await?;
            if let Some(slot) = holders.get_mut(place) {
                *slot = Some(loaded);
            }
        }
        Ok(holders)
    }
}

/// The place of a row among the claims asked, from 0.
fn place(row: &PgRow) -> Result<usize, StoreError> {
    let number: i64 = row.try_get("ord")?;
    usize::try_from(number - 1).map_err(|_| StoreError::Malformed("place of a claim"))
}
