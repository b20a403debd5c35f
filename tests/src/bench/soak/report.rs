//! What a soak leaves: every sample as JSON, and plots.

use std::path::Path;

use serde::Serialize;

use super::judge::added;
use super::sample::Sample;
use crate::bench::machine::Facts;
use crate::plot::{Plot, Scale, Series};

/// The largest tables that are drawn.
const TABLES: usize = 7;

#[derive(Serialize)]
struct Report<'a> {
    machine: Facts,
    findings: &'a [String],
    samples: &'a [Sample],
}

/// Writes `report.json` and the plots into a folder.
pub(super) fn write(
    folder: &Path,
    machine: Facts,
    samples: &[Sample],
    findings: &[String],
) -> anyhow::Result<()> {
    let report = Report {
        machine,
        findings,
        samples,
    };
    std::fs::write(
        folder.join("report.json"),
        serde_json::to_vec_pretty(&report)?,
    )?;
    for (name, plot) in plots(samples) {
        std::fs::write(folder.join(format!("{name}.svg")), plot.svg())?;
    }
    Ok(())
}

fn plots(samples: &[Sample]) -> [(&'static str, Plot); 5] {
    let line = |name: &str, of: &dyn Fn(&Sample) -> f64| {
        let points = samples
            .iter()
            .map(|sample| (sample.second / 60.0, of(sample)));
        Series::line(name, points.collect())
    };
    let plot = |title: &str, up: &str, series: Vec<Series>| Plot {
        title: title.into(),
        across: "minutes".into(),
        scale: Scale::Linear,
        up: up.into(),
        series,
    };
    let count = |number: i64| f64::from(i32::try_from(number).unwrap_or(i32::MAX));
    let claims = |sample: &Sample| count(sample.claims.values().sum());
    let mut largest: Vec<(&String, &f64)> = samples
        .last()
        .map(|sample| sample.tables.iter().collect())
        .unwrap_or_default();
    largest.sort_by(|one, other| other.1.total_cmp(one.1));
    let tables = largest.iter().take(TABLES).map(|(name, _)| {
        line(name, &|sample| {
            sample.tables.get(*name).copied().unwrap_or_default()
        })
    });
    let bytes = samples
        .windows(2)
        .filter_map(|pair| Some((pair[1].second / 60.0, added(&pair[0], &pair[1])?)));
    [
        (
            "memory",
            plot(
                "Resident memory of the server",
                "MiB",
                vec![line("server", &|sample| sample.memory_mib)],
            ),
        ),
        (
            "handles",
            plot(
                "What the server holds open",
                "count",
                vec![
                    line("file descriptors", &|sample| sample.descriptors),
                    line("connections to Postgres", &|sample| sample.connections),
                ],
            ),
        ),
        (
            "population",
            plot(
                "Customers, links and claims",
                "count",
                vec![
                    line("customers", &|sample| count(sample.read.0)),
                    line("links", &|sample| count(sample.read.2)),
                    line("claims", &claims),
                ],
            ),
        ),
        (
            "tables",
            plot(
                "The largest tables with their indexes",
                "MiB",
                tables.collect(),
            ),
        ),
        (
            "log",
            plot(
                "What a command adds to the log",
                "bytes",
                vec![Series::line("between two samples", bytes.collect())],
            ),
        ),
    ]
}
