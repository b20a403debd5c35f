//! `vs_message_db`: single appends of new customers by many callers at once, ours through group commit, against message-db's
//! `write_message`.
//!
//! Its SQL comes from the npm registry into the folder of the report and is no part of this repository; without npm, or
//! without the registry, the row is left out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use roster_store::Verdict;
use serde_json::{Map, Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::database::{Database, Open};
use super::pgbench::{self, Amount};
use super::report::{Report, Target};
use super::stats::rate;
use super::{Bench, people, say};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["vs_message_db"];

/// Callers at once, on both sides.
const CALLERS: usize = 64;
/// The package with its version.
const PACKAGE: &str = "@eventide/message-db@1.3.1";
/// Folders of SQL files in the order in which its own installation runs them. Roles, privileges and views change no append.
const PARTS: [&str; 6] = [
    "schema",
    "extensions",
    "tables",
    "types",
    "functions",
    "indexes",
];

/// In each run both ways have their turn.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let sql = match fetched(&bench.out.join("message-db")).await {
        Ok(sql) => sql,
        Err(error) => {
            say(&format!("vs_message_db: skipped, {PACKAGE}: {error:#}"));
            return Ok(());
        }
    };
    let theirs = Database::create(&bench.machine, "message_db").await?;
    let mut connection = theirs.connect().await?;
    install(&mut connection, &sql).await?;
    connection.close().await?;
    let ours = Database::create(&bench.machine, "callers").await?;
    let open = Arc::new(ours.open().await?);
    let script = [("write-message", script()?)];
    let (warm_up, time) = (bench.plan.warm_up, bench.plan.load);
    let next = Arc::new(AtomicU32::new(0));
    let mut pairs = Vec::new();
    for _ in 0..bench.plan.runs {
        theirs.quiet().await?;
        let amount = Amount::Load(CALLERS, warm_up + time);
        let url = theirs.url();
        let limit = pgbench::run(&bench.machine, &url, &bench.out, &script, amount).await?;
        ours.quiet().await?;
        pairs.push((appends(&open, &next, warm_up, time).await?, limit.rate));
    }
    open.close().await;
    ours.drop().await?;
    theirs.drop().await?;
    report.add(
        Target::rate(ROWS[0], "appends/s", "write_message"),
        &pairs,
        Some(format!(
            "{CALLERS} callers; ours seal, claim two values and keep one order, theirs lock their category"
        )),
    );
    Ok(())
}

/// Appends a second, each by a caller that waits for its verdict.
async fn appends(
    open: &Arc<Open>,
    next: &Arc<AtomicU32>,
    warm_up: Duration,
    time: Duration,
) -> anyhow::Result<f64> {
    let from = Instant::now() + warm_up;
    let till = from + time;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (open, next) = (Arc::clone(open), Arc::clone(next));
        callers.spawn(async move {
            let mut done = 0;
            while Instant::now() < till {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let verdict = open
                    .cell
                    .append(open.prepare(open.register(number)?)?)
                    .await?;
                anyhow::ensure!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
                done += usize::from((from..till).contains(&Instant::now()));
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(ended) = callers.join_next().await {
        done += ended??;
    }
    Ok(rate(done, time))
}

/// The SQL files of the package, fetched where they are not there.
async fn fetched(folder: &Path) -> anyhow::Result<Vec<String>> {
    let package = folder.join("node_modules/@eventide/message-db/database");
    if !package.exists() {
        tokio::fs::create_dir_all(folder).await?;
        let output = Command::new("npm")
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
            .arg("--prefix")
            .args([folder.as_os_str(), PACKAGE.as_ref()])
            .output()
            .await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "npm: {}", errors.trim());
    }
    let mut sql = Vec::new();
    for part in PARTS {
        let files = std::fs::read_dir(package.join(part))?;
        let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "sql"));
        files.sort();
        for file in files {
            sql.push(std::fs::read_to_string(file)?);
        }
    }
    Ok(sql)
}

async fn install(connection: &mut PgConnection, sql: &[String]) -> anyhow::Result<()> {
    // Its functions call each other without naming their schema, as its own role finds them.
    connection
        .execute(
            "DO $$ BEGIN
                 EXECUTE format('ALTER DATABASE %I SET search_path = message_store, public', current_database());
             END $$;
             SET search_path = message_store, public;
             SET check_function_bodies = off",
        )
        .await?;
    for text in sql {
        connection.execute(text.as_str()).await?;
    }
    Ok(())
}

/// A new customer as one message, of the values that ours have.
fn script() -> anyhow::Result<String> {
    let profile: Map<String, Value> = people::COLUMNS
        .into_iter()
        .zip(people::person(7, 0))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let data =
        serde_json::to_string(&json!({ "customer_user_id": people::id(7), "profile": profile }))?;
    let metadata = serde_json::to_string(&json!({
        "principal": "api_key bench0000001",
        "request_id": "0190b3c8-7b1e-7d3a-9d58-bench0000001",
    }))?;
    let quoted = |text: String| text.replace('\'', "''");
    Ok(format!(
        "SELECT message_store.write_message(gen_random_uuid()::varchar, 'customer-' || gen_random_uuid(), 'Registered', \
         '{}'::jsonb, '{}'::jsonb, -1);\n",
        quoted(data),
        quoted(metadata)
    ))
}
