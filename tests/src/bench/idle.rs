//! `idle_append`, `idle_http`: one command at a time on a quiet system, against L2.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use roster_store::Verdict;
use sqlx::{Executor, PgConnection};
use tokio_util::task::TaskTracker;

use super::Bench;
use super::copy::{LogCopy, SCHEMA, equal_tables};
use super::database::{Database, Open};
use super::http::Connection;
use super::import::filled;
use super::load::Upsert;
use super::pgbench::{self, Amount};
use super::report::{Report, Target};
use super::stats::{median, millis};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["idle_append", "idle_http"];

/// Customers that are there before, in every log.
const BEFORE: u32 = 10_000;

/// Both ways write new customers; the limit is measured before each of them.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let singles = bench.plan.singles;
    let database = Database::create(&bench.machine, "idle").await?;
    let open = Arc::new(database.open().await?);
    open.fill(0..BEFORE).await?;
    let mut connection = database.connect().await?;
    equal_tables(&mut connection).await?;
    let copy = LogCopy::take(&mut connection, &bench.out.join("log-idle")).await?;
    copy.replay(&mut connection).await?;
    copy.remove().await?;
    let script = [("insert-one", script(&mut connection).await?)];
    let directory = filled(bench, "idle_http", BEFORE).await?;
    let draft = Upsert::of(&directory.server.target);
    let mut http = Connection::open(directory.server.target.address).await?;

    let (mut append, mut over_http) = (Vec::new(), Vec::new());
    let mut next = BEFORE;
    for _ in 0..bench.plan.runs {
        database.quiet().await?;
        let url = database.url();
        let limit = || {
            pgbench::run(
                &bench.machine,
                &url,
                &bench.out,
                &script,
                Amount::Singles(singles),
            )
        };
        let before = median(&limit().await?.latencies);
        let own = Arc::clone(&open);
        let times = as_task(async move { appends(&own, next..next + singles).await }).await?;
        append.push((median(&times), before));

        let before = median(&limit().await?.latencies);
        let own = draft.clone();
        let times;
        (http, times) = as_task(async move {
            let times = requests(&mut http, &own, next..next + singles).await?;
            Ok((http, times))
        })
        .await?;
        over_http.push((median(&times), before));
        next += singles;
    }
    open.close().await;
    drop(connection);
    directory.close().await?;
    database.drop().await?;
    report.add(
        Target::time("idle_append", "L2").reach(1.5, 1.1),
        &append,
        None,
    );
    report.add(
        Target::time("idle_http", "L2").reach(2.5, 1.5),
        &over_http,
        None,
    );
    Ok(())
}

/// Runs a loop as a task, as a server's handlers are: the main thread would have to be woken for each answer.
async fn as_task<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    TaskTracker::new().spawn(work).await?
}

/// Milliseconds of each of some appends of new customers.
async fn appends(open: &Open, numbers: Range<u32>) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for number in numbers {
        let started = Instant::now();
        let prepared = open.prepare(open.register(number)?)?;
        let verdict = open.cell.append(prepared).await?;
        times.push(millis(started.elapsed()));
        anyhow::ensure!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    }
    Ok(times)
}

/// Milliseconds of each of some upserts of new customers, each until it can be read.
async fn requests(
    http: &mut Connection,
    draft: &Upsert,
    numbers: Range<u32>,
) -> anyhow::Result<Vec<f64>> {
    let (mut times, mut request) = (Vec::new(), Vec::new());
    for number in numbers {
        draft.write(number, u64::from(number), &mut request);
        times.push(http.timed(&request).await?);
        anyhow::ensure!(
            !http.unprojected,
            "an answer came before the write could be read"
        );
    }
    Ok(times)
}

/// One statement that inserts event, stream and claims of one customer; its values are those of the last one.
async fn script(connection: &mut PgConnection) -> anyhow::Result<String> {
    let (meta, payload, digest, key, state): (String, String, String, String, String) = sqlx::query_as(
        "SELECT encode(e.meta, 'hex'), encode(e.payload, 'hex'), encode(e.digest, 'hex'), encode(s.key, 'hex'),
                encode(s.state, 'hex')
           FROM log_events e JOIN log_streams s USING (stream_id)
          ORDER BY e.position DESC
          LIMIT 1",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (claims, head): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM log_claims c JOIN log_streams s USING (stream_id) WHERE s.last_position = h.head),
                h.head
           FROM (SELECT max(position) AS head FROM log_events) h",
    )
    .fetch_one(&mut *connection)
    .await?;
    connection
        .execute(format!("CREATE SEQUENCE {SCHEMA}.places START {}", head + 1).as_str())
        .await?;
    // Ids that grow, as those of version 7 do; keys that look random, as hashes do.
    let mut sql = format!(
        "WITH place AS MATERIALIZED (
    SELECT p.position, ('ffffffff' || lpad(to_hex(p.position), 24, '0'))::uuid AS stream_id
      FROM (SELECT nextval('{SCHEMA}.places') AS position) p
), event AS (
    INSERT INTO {SCHEMA}.log_events
    SELECT position, clock_timestamp(), stream_id, 1, 1, 1::smallint, 1::smallint, '\\x{meta}'::bytea,
           '\\x{payload}'::bytea, '\\x{digest}'::bytea
      FROM place
), stream AS (
    INSERT INTO {SCHEMA}.log_streams
           (stream_id, project_no, kind, version, last_position, state_fingerprint, key_no, key, state)
    SELECT stream_id, 1, 1::smallint, 1, position, 1, 1::smallint, '\\x{key}'::bytea, '\\x{state}'::bytea
      FROM place
)
INSERT INTO {SCHEMA}.log_claims (project_no, kind, key, stream_id)"
    );
    for claim in 0..claims.max(1) {
        let union = if claim == 0 { "" } else { " UNION ALL" };
        let _ = write!(
            sql,
            "{union}\nSELECT 1, {}::smallint, uuid_send(gen_random_uuid()), stream_id FROM place",
            claim + 1
        );
    }
    sql.push_str(";\n");
    Ok(sql)
}
