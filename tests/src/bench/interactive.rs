//! `interactive_p99_during_import`: upserts at a steady 50 a second while another project imports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Bench;
use super::import::{Directory, import, write_file, write_schema};
use super::load::{Load, Mix, Upsert, open_loop};
use super::report::{Report, Target};
use super::stats::{percentile, rate};
use crate::plot::{Plot, Scale, Series};

/// Fifty upserts a second.
const EVERY: Duration = Duration::from_millis(20);
/// The most milliseconds that the slowest hundredth may take.
const BOUND: f64 = 60.0;

/// The aim is 40 ms, which is a ratio of 1.5.
pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    directory: &Directory,
) -> anyhow::Result<()> {
    let target = &directory.server.target;
    let draft = Upsert::of(target);
    let rows = bench.plan.import_behind;
    let file = write_file(&bench.out.join("behind.csv"), 0..rows, 0).await?;
    let (mut pairs, mut note) = (Vec::new(), String::new());
    for run in 0..bench.plan.runs {
        let other = target.project(&format!("behind-{run}"));
        write_schema(&other).await?;
        directory.server.caught_up().await?;
        directory.database.quiet().await?;
        let mix = Mix {
            existing: bench.plan.rows,
            new_from: 50_000_000,
        };
        let end = CancellationToken::new();
        let started = Instant::now();
        let importing = async {
            let imported = import(&other, &file, rows).await;
            end.cancel();
            imported
        };
        let (imported, load) = tokio::join!(
            importing,
            open_loop(target.address, &draft, mix, EVERY, end.clone())
        );
        let (imported, load) = (imported?, load?);
        anyhow::ensure!(load.done > 0, "no upsert was answered: {}", load.tail());
        pairs.push((percentile(&load.latencies, 99), BOUND));
        note = format!(
            "{} upserts; {}; meanwhile the import ran at {:.0} rows/s",
            load.done,
            load.tail(),
            rate(usize::try_from(rows)?, imported.listed)
        );
        plot(bench, &load, started)?;
    }
    tokio::fs::remove_file(&file).await?;
    report.add(
        Target::within("interactive_p99_during_import", "ms").reach(1.0, 1.5),
        &pairs,
        Some(note),
    );
    Ok(())
}

/// Draws the middle and the slowest upsert of each second.
fn plot(bench: &Bench, load: &Load, started: Instant) -> anyhow::Result<()> {
    let mut seconds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (answered, latency) in load.answered.iter().zip(&load.latencies) {
        let second = answered.duration_since(started).as_secs();
        seconds.entry(second).or_default().push(*latency);
    }
    let points = |percent| {
        let point = |(second, latencies): (&u64, &Vec<f64>)| {
            let second = u32::try_from(*second).unwrap_or(u32::MAX);
            (f64::from(second), percentile(latencies, percent))
        };
        seconds.iter().map(point).collect::<Vec<_>>()
    };
    let end = points(50).last().map_or(0.0, |point| point.0);
    bench.draw(
        "latency-during-import",
        &Plot {
            title: format!(
                "Upserts at 50 a second while another project imports {} rows",
                bench.plan.import_behind
            ),
            across: "seconds since the import began".into(),
            scale: Scale::Linear,
            up: "ms from when it was due".into(),
            series: vec![
                Series::line("middle of a second", points(50)),
                Series::line("slowest of a second", points(100)),
                Series::limit("bound of the 99th percentile", BOUND, 0.0, end),
            ],
        },
    )
}
