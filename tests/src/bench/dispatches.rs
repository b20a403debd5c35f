//! `dispatches`, `dispatches_vs_batched`: agent calls over HTTP at 64 connections, each answered once its record is committed;
//! against 5,000 a second, and against the same rows inserted by hand in batches of as many as there are connections.

use std::time::{Duration, Instant};

use roster_internal::RUNTIME_BASE;
use serde_json::json;
use sqlx::PgConnection;

use super::Bench;
use super::import::{Directory, filled};
use super::load::{Mix, Upsert, closed_loop};
use super::people;
use super::report::{Report, Target};
use super::stats::rate;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["dispatches", "dispatches_vs_batched"];

/// Connections, and rows of a batch by hand.
const CONNECTIONS: usize = 64;
/// Customers with an identity.
const LINKED: u32 = 1_000;
/// What is required, in dispatches a second.
const REQUIRED: f64 = 5_000.0;

/// In each run both ways have their turn.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let directory = filled(bench, "dispatches", bench.plan.customers.max(LINKED)).await?;
    link(&directory).await?;
    let target = &directory.server.target;
    let body = json!({
        "channel": "line",
        "external_user_id": format!("U-{}", Upsert::ID),
        "run_id": format!("run-{}", Upsert::MARK),
        "agent_alias": "sales",
        "endpoint": "POST /orders",
        "invoker_fields": {"user_id": "customer_user_id", "email": "email"},
        "llm_fields": {"user_id": "somebody else", "article": "A-17", "pieces": 3},
    });
    let draft = Upsert::draft(target.request(&format!("{RUNTIME_BASE}/dispatches"), &body));
    let mix = Mix::of_existing(LINKED);
    let (warm_up, time) = (bench.plan.warm_up, bench.plan.load);
    let mut connection = directory.database.connect().await?;
    let (mut required, mut batched) = (Vec::new(), Vec::new());
    let mut note = String::new();
    for _ in 0..bench.plan.runs {
        directory.database.quiet().await?;
        let limit = by_hand(&mut connection, time).await?;
        directory.database.quiet().await?;
        let before = directory.server.processor_time();
        let load = closed_loop(target.address, &draft, mix, CONNECTIONS, warm_up, time).await?;
        let cpu = (directory.server.processor_time() - before) / (warm_up + time).as_secs_f64();
        note = format!("{}; the server used {cpu:.2} processors", load.tail());
        anyhow::ensure!(load.done > 0, "no dispatch was answered: {note}");
        required.push((load.rate(time), REQUIRED));
        batched.push((load.rate(time), limit));
    }
    drop(connection);
    directory.close().await?;
    let floor = Target::rate(ROWS[0], "dispatches/s", "5,000/s").reach(1.0, 1.0);
    report.add(floor, &required, Some(note.clone()));
    let aim = Target::rate(ROWS[1], "dispatches/s", "INSERTs by hand").aim(0.8);
    report.add(aim, &batched, Some(note));
    Ok(())
}

/// Identities of the first customers, and a grant for everybody.
async fn link(directory: &Directory) -> anyhow::Result<()> {
    let target = &directory.server.target;
    let grant = json!({"channel": "line", "external_user_id": "*", "agents": ["*"]});
    target.call("users/attach-channel-grant", &grant).await?;
    for number in 0..LINKED {
        let link = json!({
            "channel": "line",
            "external_user_id": format!("U-{number:08}"),
            "customer_user_id": people::id(number),
        });
        target
            .call(&format!("{RUNTIME_BASE}/identities/link"), &link)
            .await?;
    }
    directory.server.caught_up().await
}

/// Rows a second of one statement after another, each durable, into the same table with its indexes.
async fn by_hand(connection: &mut PgConnection, time: Duration) -> anyhow::Result<f64> {
    // As large as what a dispatch seals.
    const SEALED: i32 = 160;
    let count = i32::try_from(CONNECTIONS)?;
    let (from, mut done) = (Instant::now(), 0);
    while from.elapsed() < time {
        let written = sqlx::query(
            "INSERT INTO log_journal (position, recorded_at, project_no, customer_ref, allowed, run_key, identity_key, channel,
                                      endpoint, agent_alias, reason, trust, sealed)
             SELECT nextval('log_journal_position'), clock_timestamp(), 0, gen_random_uuid(), true,
                    uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()), 'line', 'POST /orders', 'sales', 'matched',
                    'linked', convert_to(repeat('x', $2), 'UTF8')
               FROM generate_series(1, $1)",
        )
        .bind(count)
        .bind(SEALED)
        .execute(&mut *connection)
        .await?;
        done += usize::try_from(written.rows_affected())?;
    }
    Ok(rate(done, from.elapsed()))
}
