//! `http_upserts_64`, `http_upserts_256`, `vs_postgres_es_64`: random upserts over HTTP until they can be read.
//!
//! Half of them are about customers that exist, half about new ones; against L3 and against the peer.

use sqlx::{Connection, Executor, PgConnection};

use super::Bench;
use super::catch_up::columns;
use super::copy::{SCHEMA, equal_table};
use super::database::Database;
use super::import::filled;
use super::load::{Mix, Upsert, closed_loop};
use super::peer;
use super::pgbench::{self, Amount};
use super::report::{Report, Target};
use super::server::Server;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["http_upserts_64", "http_upserts_256", "vs_postgres_es_64"];

/// Clients of the limit, whatever the number of connections.
const CLIENTS: usize = 64;

/// In each run every way has its turn: the limit, 64 connections, the peer, 256 connections.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let customers = bench.plan.customers;
    let directory = filled(bench, "upserts", customers).await?;
    let draft = Upsert::of(&directory.server.target);
    let peers = Database::create(&bench.machine, "peer").await?;
    let other = Server::peer(&bench.out.join("peer"), &peers.url()).await?;
    let mut connection = peers.connect().await?;
    peer::fill(&mut connection, &other.target, customers).await?;
    connection.close().await?;
    let other_draft = Upsert::of(&other.target);
    let mut connection = directory.database.connect().await?;
    let scripts = scripts(&mut connection, customers).await?;

    let (warm_up, time) = (bench.plan.warm_up, bench.plan.load);
    let mut rates: [Vec<(f64, f64)>; 3] = Default::default();
    let mut notes: [String; 3] = Default::default();
    for run in 0..bench.plan.runs {
        let new_from = 10_000_000 + 1_000_000 * u32::try_from(run)?;
        let mix = Mix {
            existing: customers,
            new_from,
        };
        directory.database.quiet().await?;
        let url = directory.database.url();
        let limit = pgbench::run(
            &bench.machine,
            &url,
            &bench.out,
            &scripts,
            Amount::Load(CLIENTS, warm_up + time),
        )
        .await?;
        let mut measured: [f64; 3] = [0.0; 3];
        for (place, connections) in [(0, 64), (2, 64), (1, 256)] {
            let (server, draft) = if place == 2 {
                (&other, &other_draft)
            } else {
                (&directory.server, &draft)
            };
            let for_peer = place == 0 && bench.wants(&ROWS[2..]);
            if !for_peer && !bench.wants(&[ROWS[place]]) {
                continue;
            }
            if place != 2 {
                directory.server.caught_up().await?;
            }
            directory.database.quiet().await?;
            let before = server.processor_time();
            let load = closed_loop(
                server.target.address,
                draft,
                mix,
                connections,
                warm_up,
                time,
            )
            .await?;
            measured[place] = load.rate(time);
            let cpu = (server.processor_time() - before) / (warm_up + time).as_secs_f64();
            notes[place] = format!("{}; the server used {cpu:.2} processors", load.tail());
            anyhow::ensure!(load.done > 0, "no upsert was answered: {}", notes[place]);
        }
        rates[0].push((measured[0], limit.rate));
        rates[1].push((measured[1], limit.rate));
        rates[2].push((measured[0], measured[2]));
    }
    drop(connection);
    other.stop().await?;
    peers.drop().await?;
    directory.close().await?;

    let [few, many, peer] = notes;
    let against_peer = format!("peer: {peer}");
    let rows = [
        (
            Target::rate(ROWS[0], "upserts/s", "L3").reach(0.6, 0.9),
            few,
        ),
        (
            Target::rate(ROWS[1], "upserts/s", "L3").reach(0.9, 1.2),
            many,
        ),
        (
            Target::rate(ROWS[2], "upserts/s", "postgres-es").reach(2.0, 4.0),
            against_peer,
        ),
    ];
    for ((target, note), (place, pairs)) in rows.into_iter().zip(rates.iter().enumerate()) {
        if bench.wants(&[ROWS[place]]) {
            report.add(target, pairs, Some(note));
        }
    }
    Ok(())
}

/// Limit L3: single-row upserts into a copy of the customer index, half of them about rows that exist.
async fn scripts(
    connection: &mut PgConnection,
    customers: u32,
) -> anyhow::Result<[(&'static str, String); 2]> {
    connection
        .execute(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}").as_str())
        .await?;
    equal_table(connection, "view_customers").await?;
    let head: i64 = sqlx::query_scalar("SELECT max(position) FROM view_customers")
        .fetch_one(&mut *connection)
        .await?;
    connection
        .execute(
            format!(
                "INSERT INTO {SCHEMA}.view_customers SELECT * FROM view_customers ORDER BY position;
                 CREATE SEQUENCE {SCHEMA}.places START {} CACHE 1;
                 ANALYZE {SCHEMA}.view_customers",
                head + 1
            )
            .as_str(),
        )
        .await?;
    let (project, bucket, profile): (i32, i64, String) = sqlx::query_as(
        "SELECT project_no, bucket, encode(convert_to(profile::text, 'UTF8'), 'hex')
           FROM view_customers WHERE customer_user_id = 'c00000007'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let columns = columns(connection, "view_customers").await?;
    let values: Vec<String> = columns
        .iter()
        .map(|column| {
            Ok(match column.as_str() {
                "created_at" | "updated_at" => "clock_timestamp()".into(),
                "bucket" => format!("{bucket}::bigint"),
                "position" => format!("nextval('{SCHEMA}.places')"),
                "stream_id" => "gen_random_uuid()".into(),
                "project_no" => project.to_string(),
                "version" => "2".into(),
                "source_kind" => "1::smallint".into(),
                "enabled" => "true".into(),
                "customer_user_id" => "'c' || lpad(:number::bigint::text, 8, '0')".into(),
                "display_name" => "'Chloé Andersson'".into(),
                // As hexadecimal digits: pgbench takes colons for its own variables.
                "profile" => format!("convert_from('\\x{profile}'::bytea, 'UTF8')::json"),
                "connector_enabled" => "'{}'::jsonb".into(),
                "source_provider" | "source_connection" => "''".into(),
                "source_external_id" | "source_synced_at" => "NULL".into(),
                other => anyhow::bail!(
                    "view_customers has a new column, {other}: say here what the limit puts into it"
                ),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    // The stream of a customer that exists stays.
    let kept = ["project_no", "customer_user_id", "stream_id", "created_at"];
    let changes: Vec<String> = columns
        .iter()
        .filter(|column| !kept.contains(&column.as_str()))
        .map(|column| format!("{column} = EXCLUDED.{column}"))
        .collect();
    let sql = format!(
        "INSERT INTO {SCHEMA}.view_customers AS v ({})\nVALUES ({})\nON CONFLICT (project_no, customer_user_id) DO UPDATE SET {}\nWHERE v.position <= EXCLUDED.position;\n",
        columns.join(", "),
        values.join(", "),
        changes.join(", ")
    );
    Ok([
        (
            "upsert-existing",
            format!(
                "\\set number random(0, {})\n{sql}",
                customers.saturating_sub(1)
            ),
        ),
        (
            "upsert-new",
            format!("\\set number random(10000000, 99999999)\n{sql}"),
        ),
    ])
}
