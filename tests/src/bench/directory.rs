//! `csv_import`, `searchable`, `reimport`, and on the directory that they leave: lists and interactive writes.

use std::time::Instant;

use serde_json::json;

use super::copy::{LogCopy, SCHEMA, equal_tables};
use super::import::{Directory, filled, import, write_file};
use super::report::{Report, Target};
use super::stats::{float, rate};
use super::{Bench, interactive, lists, people};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &[
    "csv_import",
    "csv_searchable",
    "csv_import_memory",
    "reimport",
    "users_list",
    "interactive_p99_during_import",
];

/// The figures of every run.
#[derive(Default)]
struct Runs {
    listed: Vec<(f64, f64)>,
    searchable: Vec<(f64, f64)>,
    again: Vec<(f64, f64)>,
    memory: Vec<(f64, f64)>,
    note: String,
}

/// Imports into an empty database in each run; the last directory stays for what follows.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let mut last = None;
    if bench.wants(&ROWS[..4]) {
        let mut runs = Runs::default();
        for _ in 0..bench.plan.imports {
            if let Some(before) = last.take() {
                Directory::close(before).await?;
            }
            last = Some(measure(bench, &mut runs).await?);
        }
        report.add(
            Target::rate("csv_import", "rows/s", "L1").reach(0.25, 0.35),
            &runs.listed,
            Some(runs.note),
        );
        report.add(
            Target::rate("csv_searchable", "rows/s", "L1"),
            &runs.searchable,
            None,
        );
        report.add(
            Target::rate("reimport", "rows/s", "first import").reach(3.0, 6.0),
            &runs.again,
            None,
        );
        report.add(
            Target::within("csv_import_memory", "MiB").reach(1.0, 1.0),
            &runs.memory,
            None,
        );
    }
    if !bench.wants(&ROWS[4..]) {
        return match last {
            Some(directory) => directory.close().await,
            None => Ok(()),
        };
    }
    let directory = match last {
        Some(directory) => directory,
        None => filled(bench, "directory", bench.plan.rows).await?,
    };
    if bench.wants(&["users_list"]) {
        lists::run(bench, report, &directory).await?;
    }
    if bench.wants(&["interactive_p99_during_import"]) {
        interactive::run(bench, report, &directory).await?;
    }
    directory.close().await
}

async fn measure(bench: &Bench, runs: &mut Runs) -> anyhow::Result<Directory> {
    let rows = bench.plan.rows;
    let count = usize::try_from(rows)?;
    let directory = Directory::open(bench, "directory").await?;
    let target = &directory.server.target;
    let file = write_file(&bench.out.join("people.csv"), 0..rows, 0).await?;
    directory.database.quiet().await?;

    let started = Instant::now();
    let imported = import(target, &file, rows).await?;
    let listed = imported.listed;
    anyhow::ensure!(
        imported.counts["created"] == json!(rows),
        "the import ended otherwise: {}",
        imported.counts
    );
    let cpu = directory.server.processor_time();
    directory.server.caught_up().await?;
    let searchable = started.elapsed();
    let last = json!({ "search": people::email(rows - 1), "page_size": 1 });
    let found = target.call("users/list", &last).await?["total"].clone();
    anyhow::ensure!(found == json!(1), "a search for the last row finds {found}");
    let memory = directory.server.peak_memory_mib();

    let mut connection = directory.database.connect().await?;
    equal_tables(&mut connection).await?;
    let copy = LogCopy::take(&mut connection, &bench.out.join("log-import")).await?;
    directory.database.quiet().await?;
    let limit = copy.replay(&mut connection).await?;
    sqlx::Executor::execute(
        &mut connection,
        format!("DROP SCHEMA {SCHEMA} CASCADE").as_str(),
    )
    .await?;
    copy.remove().await?;

    let file = write_file(&file, 0..rows, 1).await?;
    directory.database.quiet().await?;
    let before = directory.server.processor_time();
    let again = import(target, &file, rows).await?;
    let cpu_again = directory.server.processor_time() - before;
    let changed = json!(rows.div_ceil(people::CHANGES_EVERY));
    anyhow::ensure!(
        again.counts["updated"] == changed,
        "the second import ended otherwise: {}",
        again.counts
    );
    directory.server.caught_up().await?;
    tokio::fs::remove_file(&file).await?;

    let limit = rate(count, limit);
    runs.listed.push((rate(count, listed), limit));
    runs.searchable.push((rate(count, searchable), limit));
    runs.again
        .push((rate(count, again.listed), rate(count, listed)));
    runs.memory.push((float(usize::try_from(memory)?), 400.0));
    runs.note = format!(
        "{rows} rows: taken after {:.1} s, listed after {:.1} s, searchable after {:.1} s; again: {:.1} s; \
         the server's processor time until listed: {cpu:.1} s; again: {cpu_again:.1} s",
        imported.taken.as_secs_f64(),
        listed.as_secs_f64(),
        searchable.as_secs_f64(),
        again.listed.as_secs_f64()
    );
    Ok(directory)
}
