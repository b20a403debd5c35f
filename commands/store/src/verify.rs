//! Whether the log is what it was: contiguity, digests, the chain of batches, stream heads and claims.

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{Cell, StoreError};

/// Events that one step checks.
const PAGE: i64 = 20_000;
/// Findings after which a check stops looking.
const MOST_FINDINGS: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, if it is at a position.
    pub position: Option<i64>,
    /// Which stream, if it is one's.
    pub stream: Option<Uuid>,
    /// What.
    pub message: String,
}

/// What a check proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events whose digest was recomputed.
    pub events: i64,
    /// Batches whose link was recomputed.
    pub batches: i64,
    /// Streams whose head was compared with their events.
    pub streams: i64,
    /// Claims whose stream was looked up.
    pub claims: i64,
    /// What is wrong, at most 100.
    pub findings: Vec<Finding>,
}

#[derive(FromRow)]
struct BatchRow {
    first_position: i64,
    last_position: i64,
    events: i64,
    lowest: Option<i64>,
    highest: Option<i64>,
    linked: bool,
    previous_last: i64,
}

/// Checks the whole log; `progress` gets the events done and their number.
pub async fn verify(cell: &Cell, mut progress: impl FnMut(i64, i64)) -> Result<Report, StoreError> {
    // The whole log is read, which is the one thing that the service's role is not set up for.
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                 SET LOCAL enable_seqscan = on;
                 SET LOCAL enable_hashjoin = on;
                 SET LOCAL enable_mergejoin = on";
    let mut transaction = cell.pool().begin_with(begin).await?;
    let connection = &mut *transaction;
    let mut report = Report::default();
    let (stored, head): (i64, i64) = sqlx::query_as(
        "SELECT COALESCE((SELECT max(position) FROM log_events), 0),
                COALESCE((SELECT max(last_position) FROM log_batches), 0)",
    )
    .fetch_one(&mut *connection)
    .await?;
    if stored > head {
        report.add(
            Some(head + 1),
            None,
            format!("events up to {stored} are in no batch"),
        );
    }
    let mut after = 0;
    while after < head && report.findings.len() < MOST_FINDINGS {
        let till = (after + PAGE).min(head);
        check_events(&mut *connection, after, till, &mut report).await?;
        after = till;
        progress(after, head);
    }
    check_batches(&mut *connection, &mut report).await?;
    check_streams(&mut *connection, &mut report).await?;
    check_claims(&mut *connection, &mut report).await?;
    Ok(report)
}

impl Report {
    fn add(&mut self, position: Option<i64>, stream: Option<Uuid>, message: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding {
                position,
                stream,
                message,
            });
        }
    }
}

async fn check_events(
    connection: &mut PgConnection,
    after: i64,
    till: i64,
    report: &mut Report,
) -> Result<(), StoreError> {
    let (count, bad): (i64, Option<Vec<i64>>) = sqlx::query_as(
        "SELECT count(*),
                array_agg(position ORDER BY position) FILTER (WHERE digest <> sha256(
                    int8send(position) || timestamptz_send(recorded_at) || uuid_send(stream_id) || int4send(version)
                    || int4send(project_no) || int2send(type_no) || int2send(type_version) || int4send(length(meta))
                    || meta || payload))
           FROM log_events
          WHERE position > $1 AND position <= $2",
    )
    .bind(after)
    .bind(till)
    .fetch_one(&mut *connection)
    .await?;
    report.events += count;
    for position in bad.unwrap_or_default() {
        report.add(
            Some(position),
            None,
            "the event differs from its digest".into(),
        );
    }
    if count != till - after {
        let missing: Vec<i64> = sqlx::query_scalar(
            "SELECT wanted
               FROM generate_series($1::bigint + 1, $2) AS wanted
              WHERE NOT EXISTS (SELECT FROM log_events WHERE position = wanted)
              ORDER BY wanted
              LIMIT 10",
        )
        .bind(after)
        .bind(till)
        .fetch_all(&mut *connection)
        .await?;
        for position in missing {
            report.add(Some(position), None, "the event is missing".into());
        }
    }
    Ok(())
}

async fn check_batches(
    connection: &mut PgConnection,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut after = 0_i64;
    loop {
        let rows: Vec<BatchRow> = sqlx::query_as(
            "SELECT b.first_position, b.last_position, b.previous_last,
                    e.events, e.lowest, e.highest,
                    b.digest = sha256(b.previous_digest || COALESCE(e.digests, '')) AS linked
               FROM (SELECT first_position, last_position, digest,
                            COALESCE(lag(last_position) OVER w, 0) AS previous_last,
                            COALESCE(lag(digest) OVER w, '') AS previous_digest
                       FROM (SELECT * FROM log_batches WHERE last_position >= $1 ORDER BY last_position LIMIT 2001) AS page
                     WINDOW w AS (ORDER BY last_position)) b
               LEFT JOIN LATERAL (
                    SELECT count(*) AS events, min(position) AS lowest, max(position) AS highest,
                           string_agg(digest, ''::bytea ORDER BY position) AS digests
                      FROM log_events
                     WHERE position BETWEEN b.first_position AND b.last_position) e ON true
              WHERE b.last_position > $1
              ORDER BY b.last_position",
        )
        .bind(after)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        let till = last.last_position;
        for row in rows {
            report.batches += 1;
            let whole = row.events == row.last_position - row.first_position + 1
                && row.lowest == Some(row.first_position)
                && row.highest == Some(row.last_position)
                && row.first_position == row.previous_last + 1;
            if !whole {
                report.add(
                    Some(row.first_position),
                    None,
                    "the batch does not continue the one before it".into(),
                );
            } else if !row.linked {
                report.add(
                    Some(row.first_position),
                    None,
                    "the batch differs from its link in the chain".into(),
                );
            }
        }
        if report.findings.len() >= MOST_FINDINGS {
            return Ok(());
        }
        after = till;
    }
}

async fn check_streams(
    connection: &mut PgConnection,
    report: &mut Report,
) -> Result<(), StoreError> {
    report.streams = sqlx::query_scalar("SELECT count(*) FROM log_streams")
        .fetch_one(&mut *connection)
        .await?;
    let wrong: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT COALESCE(s.stream_id, e.stream_id), COALESCE(e.last_position, s.last_position)
           FROM log_streams s
           FULL JOIN (SELECT stream_id, count(*) AS events, max(version) AS version, max(position) AS last_position
                        FROM log_events
                       GROUP BY stream_id) e USING (stream_id)
          WHERE s.version IS DISTINCT FROM e.version
             OR e.events IS DISTINCT FROM e.version::bigint
             OR s.last_position IS DISTINCT FROM e.last_position
          LIMIT 100",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (stream, position) in wrong {
        report.add(
            Some(position),
            Some(stream),
            "the stream's head differs from its events".into(),
        );
    }
    Ok(())
}

async fn check_claims(
    connection: &mut PgConnection,
    report: &mut Report,
) -> Result<(), StoreError> {
    report.claims = sqlx::query_scalar("SELECT count(*) FROM log_claims")
        .fetch_one(&mut *connection)
        .await?;
    let wrong: Vec<Uuid> = sqlx::query_scalar(
        "SELECT c.stream_id
           FROM log_claims c
           LEFT JOIN log_streams s USING (stream_id)
          WHERE s.stream_id IS NULL OR s.flags & 1 = 1 OR s.project_no <> c.project_no
          LIMIT 100",
    )
    .fetch_all(&mut *connection)
    .await?;
    for stream in wrong {
        report.add(
            None,
            Some(stream),
            "a claim is held by a stream that is absent, closed or of another project".into(),
        );
    }
    let unclaimed: Vec<Uuid> = sqlx::query_scalar(
        "SELECT s.stream_id
           FROM log_streams s
          WHERE s.kind = $1 AND s.flags & 1 = 0
            AND NOT EXISTS (SELECT FROM log_claims c WHERE c.stream_id = s.stream_id AND c.kind = $2)
          LIMIT 100",
    )
    .bind(roster_domain::stream::kind::CUSTOMER)
    .bind(roster_domain::stream::claim_kind::CUSTOMER_ID)
    .fetch_all(&mut *connection)
    .await?;
    for stream in unclaimed {
        report.add(
            None,
            Some(stream),
            "a customer holds no claim on its id".into(),
        );
    }
    Ok(())
}
