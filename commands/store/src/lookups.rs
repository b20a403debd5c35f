//! Who holds a claim: one task asks for all who wait with one statement.
//!
//! There is no linger timer, as in [`crate::sequencer`]: while one statement runs, the next one's keys gather. A statement of
//! its own for each costs Postgres and the server more than the look-up itself.

use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::StoreError;
use crate::link::Link;
use crate::streams::COLUMNS;

/// The most keys of one statement, as many as one append has commands.
const LOOK_UPS: usize = 256;

/// One claim whose holder is asked for.
pub(crate) struct LookUp {
    pub(crate) project_no: i32,
    pub(crate) kind: i16,
    pub(crate) key: Vec<u8>,
    /// Gets the row of the holder's stream, with [`COLUMNS`]; nothing where nobody holds the claim.
    pub(crate) reply: oneshot::Sender<Result<Option<PgRow>, StoreError>>,
}

/// The task that asks.
pub(crate) struct LookUps {
    pub(crate) link: Link,
    pub(crate) queue: mpsc::Receiver<LookUp>,
    pub(crate) stop: CancellationToken,
}

impl LookUps {
    /// Serves until every sender is gone or the server stops.
    pub(crate) async fn run(mut self) {
        let mut wanted = Vec::new();
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.queue.recv_many(&mut wanted, LOOK_UPS) => if taken == 0 { break },
            }
            let mut found = self.find(&wanted).await;
            // Postgres may have closed the connection while nobody asked; asking again does no harm.
            if found.is_err() && self.link.is_held() {
                self.link.give_up();
                found = self.find(&wanted).await;
            }
            if found.is_err() {
                self.link.give_up();
            }
            answer(wanted.drain(..), found);
        }
    }

    async fn find(&mut self, wanted: &[LookUp]) -> Result<Vec<PgRow>, StoreError> {
        let link = self.link.get().await?;
        let (mut projects, mut kinds, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for look_up in wanted {
            projects.push(look_up.project_no);
            kinds.push(look_up.kind);
            keys.push(look_up.key.as_slice());
        }
        let sql = format!(
            "SELECT {COLUMNS}, wanted.ord
               FROM unnest($1::integer[], $2::smallint[], $3::bytea[]) WITH ORDINALITY AS wanted(project_no, kind, key, ord)
              CROSS JOIN LATERAL (
                    SELECT h.stream_id
                      FROM log_claims h
                     WHERE h.project_no = wanted.project_no
                       AND h.kind = wanted.kind
                       AND h.key = wanted.key
                    OFFSET 0) c
              CROSS JOIN LATERAL (SELECT * FROM log_streams o WHERE o.stream_id = c.stream_id OFFSET 0) s"
        );
        let query = sqlx::query(&sql).bind(projects).bind(kinds).bind(keys);
        Ok(query.fetch_all(link).await?)
    }
}

/// Hands the rows out by their ordinal; a failure reaches everybody.
fn answer(wanted: impl ExactSizeIterator<Item = LookUp>, found: Result<Vec<PgRow>, StoreError>) {
    let rows = match found {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(%error, claims = wanted.len(), "holders of claims could not be looked up");
            for look_up in wanted {
                drop(look_up.reply.send(Err(StoreError::Closed)));
            }
            return;
        }
    };
    let mut holders: Vec<Option<PgRow>> = (0..wanted.len()).map(|_| None).collect();
    for row in rows {
        let place = row.try_get::<i64, _>("ord").ok();
        let place = place.and_then(|ord| usize::try_from(ord - 1).ok());
        if let Some(holder) = place.and_then(|place| holders.get_mut(place)) {
            *holder = Some(row);
        }
    }
    for (look_up, holder) in wanted.zip(holders) {
        // A caller that went away asks no more.
        drop(look_up.reply.send(Ok(holder)));
    }
}
