//! `http_upserts_64`, `http_upserts_256`, `vs_postgres_es_64`, `vs_disintegrate_64`: random upserts over HTTP until they can
//! be read.
//!
//! Half of them are about customers that exist, half about new ones; against L3 and against the peers.

use sqlx::{Connection, Executor, PgConnection};

use super::catch_up::columns;
use super::copy::{SCHEMA, equal_table};
use super::database::Database;
use super::import::{Directory, filled};
use super::load::{Mix, Upsert, closed_loop};
use super::peer::Peer;
use super::pgbench::{self, Amount};
use super::report::{Report, Target};
use super::server::Server;
use super::stats::median;
use super::{Bench, say};
use crate::plot::{Plot, Scale, Series};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &[
    "http_upserts_64",
    "http_upserts_256",
    "vs_postgres_es_64",
    "vs_disintegrate_64",
];
/// The peers with their rows.
const PEERS: [(Peer, &str); 2] = [(Peer::PostgresEs, ROWS[2]), (Peer::Disintegrate, ROWS[3])];

/// Clients of the limit, whatever the number of connections.
const CLIENTS: usize = 64;
/// Numbers of connections that are measured once, for the plot only.
const FEW: [usize; 3] = [1, 4, 16];

/// A peer on a database of its own.
struct Rival {
    row: &'static str,
    against: &'static str,
    database: Database,
    server: Server,
    /// The rates of every run: ours, and its.
    rates: Vec<(f64, f64)>,
    note: String,
}

impl Rival {
    /// None where this Postgres is too old for it.
    async fn start(
        bench: &Bench,
        peer: Peer,
        row: &'static str,
        customers: u32,
    ) -> anyhow::Result<Option<Self>> {
        let name = peer.name();
        let database = Database::create(&bench.machine, &name.replace('-', "_")).await?;
        let url = database.url();
        let mut connection = database.connect().await?;
        let version: i32 =
            sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
                .fetch_one(&mut connection)
                .await?;
        let oldest = peer.oldest_postgres();
        if version < oldest {
            say(&format!(
                "{row}: skipped, {name} needs Postgres {}",
                oldest / 10_000
            ));
            connection.close().await?;
            database.drop().await?;
            return Ok(None);
        }
        let server = Server::peer(peer, &bench.out.join("peer"), &url).await?;
        peer.fill(&mut connection, &url, &server.target, customers)
            .await?;
        connection.close().await?;
        Ok(Some(Self {
            row,
            against: name,
            database,
            server,
            rates: Vec::new(),
            note: String::new(),
        }))
    }
}

/// In each run every way has its turn: the limit, 64 connections, the peers, 256 connections.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let customers = bench.plan.customers;
    let directory = filled(bench, "upserts", customers).await?;
    let mut rivals = Vec::new();
    for (peer, row) in PEERS {
        if bench.wants(&[row]) {
            rivals.extend(Rival::start(bench, peer, row, customers).await?);
        }
    }
    let mut connection = directory.database.connect().await?;
    let scripts = scripts(&mut connection, customers).await?;
    let wants_few = bench.wants(&ROWS[..1]) || !rivals.is_empty();

    let (mut few, mut many) = (Vec::new(), Vec::new());
    let mut notes: [String; 2] = Default::default();
    for run in 0..bench.plan.runs {
        let mix = Mix {
            existing: customers,
            new_from: 10_000_000 + 1_000_000 * u32::try_from(run)?,
        };
        directory.database.quiet().await?;
        let url = directory.database.url();
        let time = bench.plan.warm_up + bench.plan.load;
        let amount = Amount::Load(CLIENTS, time);
        let limit = pgbench::run(&bench.machine, &url, &bench.out, &scripts, amount).await?;
        let mut ours = 0.0;
        if wants_few {
            (ours, notes[0]) = measure(bench, &directory, &directory.server, mix, CLIENTS).await?;
            few.push((ours, limit.rate));
        }
        for rival in &mut rivals {
            let (rate, note) = measure(bench, &directory, &rival.server, mix, CLIENTS).await?;
            rival.rates.push((ours, rate));
            rival.note = format!("peer: {note}");
        }
        if bench.wants(&ROWS[1..2]) {
            let (rate, note) = measure(bench, &directory, &directory.server, mix, 256).await?;
            many.push((rate, limit.rate));
            notes[1] = note;
        }
    }
    drop(connection);
    if !few.is_empty() && !many.is_empty() {
        plot(bench, &directory, (&few, &many), &rivals).await?;
    }
    directory.close().await?;

    let [note, note_of_many] = notes;
    if bench.wants(&ROWS[..1]) {
        let target = Target::rate(ROWS[0], "upserts/s", "L3").reach(0.6, 0.9);
        report.add(target, &few, Some(note));
    }
    if bench.wants(&ROWS[1..2]) {
        let target = Target::rate(ROWS[1], "upserts/s", "L3").reach(0.9, 1.2);
        report.add(target, &many, Some(note_of_many));
    }
    for rival in rivals {
        rival.server.stop().await?;
        rival.database.drop().await?;
        let target = Target::rate(rival.row, "upserts/s", rival.against);
        let target = if rival.row == ROWS[2] {
            target.reach(2.0, 4.0)
        } else {
            target
        };
        report.add(target, &rival.rates, Some(rival.note));
    }
    Ok(())
}

/// Upserts a second of a server at many connections, and what else was seen.
async fn measure(
    bench: &Bench,
    directory: &Directory,
    server: &Server,
    mix: Mix,
    connections: usize,
) -> anyhow::Result<(f64, String)> {
    directory.server.caught_up().await?;
    directory.database.quiet().await?;
    let (warm_up, time) = (bench.plan.warm_up, bench.plan.load);
    let (address, draft) = (server.target.address, Upsert::of(&server.target));
    let before = server.processor_time();
    let load = closed_loop(address, &draft, mix, connections, warm_up, time).await?;
    let cpu = (server.processor_time() - before) / (warm_up + time).as_secs_f64();
    let note = format!("{}; the server used {cpu:.2} processors", load.tail());
    anyhow::ensure!(load.done > 0, "no upsert was answered: {note}");
    Ok((load.rate(time), note))
}

/// Draws the rates of both rows, and those of fewer connections, which are measured now.
async fn plot(
    bench: &Bench,
    directory: &Directory,
    (few, many): (&[(f64, f64)], &[(f64, f64)]),
    rivals: &[Rival],
) -> anyhow::Result<()> {
    let middle = |pairs: &[(f64, f64)], part: fn(&(f64, f64)) -> f64| {
        median(&pairs.iter().map(part).collect::<Vec<_>>())
    };
    let mix = Mix {
        existing: bench.plan.customers,
        new_from: 50_000_000,
    };
    let mut points = Vec::new();
    for connections in FEW {
        let (rate, _) = measure(bench, directory, &directory.server, mix, connections).await?;
        points.push((f64::from(u32::try_from(connections)?), rate));
    }
    points.push((64.0, middle(few, |pair| pair.0)));
    points.push((256.0, middle(many, |pair| pair.0)));
    let limit = |name: &str, height| Series::limit(name, height, 1.0, 256.0);
    let mut series = vec![
        Series::line("Roster, until readable", points),
        limit("L3, 64 clients", middle(few, |pair| pair.1)),
    ];
    series.extend(rivals.iter().map(|rival| {
        let name = format!("{}, 64 connections", rival.against);
        limit(&name, middle(&rival.rates, |pair| pair.1))
    }));
    bench.draw(
        "upserts-by-connections",
        &Plot {
            title: "Upserts over HTTP by connections".into(),
            across: "connections".into(),
            scale: Scale::Logarithmic,
            up: "upserts a second".into(),
            series,
        },
    )
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
