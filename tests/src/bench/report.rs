//! What was measured: rows, their limits, and the table.

use std::fmt::Write as _;

use serde::Serialize;

use super::machine::Facts;
use super::stats::median;

/// Which way a value is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Better {
    /// Rates: the ratio is value by limit, and floor and aim are its least.
    Higher,
    /// Times against a limit that is a time: the ratio is value by limit, and floor and aim are its most.
    Lower,
    /// Times against a fixed bound: the ratio is bound by value, and floor and aim are its least.
    Within,
}

/// One measurement with its limit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Run {
    /// What was measured.
    pub(super) value: f64,
    /// Its limit, measured beside it.
    pub(super) limit: f64,
    /// The two compared, as [`Better`] says.
    pub(super) ratio: f64,
}

/// What a row is and what it must reach.
#[derive(Clone, Debug)]
pub(super) struct Target {
    name: String,
    unit: &'static str,
    against: &'static str,
    better: Better,
    floor: Option<f64>,
    aim: Option<f64>,
}

impl Target {
    /// A rate, against the rate of a limit.
    pub(super) fn rate(name: impl Into<String>, unit: &'static str, against: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            against,
            better: Better::Higher,
            floor: None,
            aim: None,
        }
    }

    /// A time, against the time that a limit takes.
    pub(super) fn time(name: impl Into<String>, against: &'static str) -> Self {
        Self {
            better: Better::Lower,
            ..Self::rate(name, "ms", against)
        }
    }

    /// A value that must stay within a bound.
    pub(super) fn within(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            better: Better::Within,
            ..Self::rate(name, unit, "bound")
        }
    }

    /// The ratio that is aimed at, where none is required.
    #[must_use]
    pub(super) const fn aim(mut self, aim: f64) -> Self {
        self.aim = Some(aim);
        self
    }

    /// The ratios that are required and aimed at.
    #[must_use]
    pub(super) const fn reach(mut self, floor: f64, aim: f64) -> Self {
        self.floor = Some(floor);
        self.aim = Some(aim);
        self
    }
}

/// A row of the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: String,
    /// The median.
    pub(super) value: f64,
    /// Of value and limit.
    pub(super) unit: &'static str,
    /// The median of the limit.
    pub(super) limit: f64,
    /// What the limit is.
    pub(super) against: &'static str,
    /// The median of the runs' ratios.
    pub(super) ratio: f64,
    /// Which way is good.
    pub(super) better: Better,
    /// The ratio that is required.
    pub(super) floor: Option<f64>,
    /// The ratio that is aimed at.
    pub(super) aim: Option<f64>,
    /// Whether the required ratio is reached.
    pub(super) meets_floor: Option<bool>,
    /// Whether the aim is reached.
    pub(super) meets_aim: Option<bool>,
    /// Every measurement.
    pub(super) runs: Vec<Run>,
    /// What else was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The machine and the servers.
    pub(super) machine: Facts,
    /// In the order of measurement.
    pub(super) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(super) failures: Vec<String>,
    /// Seconds of each stage, by its first row.
    pub(super) took: Vec<(&'static str, f64)>,
}

impl Report {
    /// Adds a row from pairs of value and limit, one a run.
    pub(super) fn add(&mut self, target: Target, pairs: &[(f64, f64)], note: Option<String>) {
        let Target {
            name,
            unit,
            against,
            better,
            floor,
            aim,
        } = target;
        let runs: Vec<Run> = pairs
            .iter()
            .map(|(value, limit)| {
                let ratio = if better == Better::Within {
                    limit / value
                } else {
                    value / limit
                };
                Run {
                    value: *value,
                    limit: *limit,
                    ratio,
                }
            })
            .collect();
        let of = |part: fn(&Run) -> f64| median(&runs.iter().map(part).collect::<Vec<_>>());
        let ratio = of(|run| run.ratio);
        let meets = |bound: f64| {
            if better == Better::Lower {
                ratio <= bound
            } else {
                ratio >= bound
            }
        };
        let row = Row {
            value: of(|run| run.value),
            limit: of(|run| run.limit),
            meets_floor: floor.map(meets),
            meets_aim: aim.map(meets),
            name,
            unit,
            against,
            ratio,
            better,
            floor,
            aim,
            runs,
            note,
        };
        super::say(&row.line());
        self.rows.push(row);
    }

    /// The table as text.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.machine, heading());
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
            if let Some(note) = &row.note {
                let _ = writeln!(text, "    {note}");
            }
        }
        for failure in &self.failures {
            let _ = writeln!(text, "not measured: {failure}");
        }
        text
    }

    /// The table as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.machine);
        text.push_str("| row | measured | limit | ratio | floor | aim | |\n|---|---:|---:|---:|---:|---:|---|\n");
        for row in &self.rows {
            let _ = writeln!(
                text,
                "| `{}` | {} {} | {} ({}) | {} | {} | {} | {} |",
                row.name,
                short(row.value),
                row.unit,
                short(row.limit),
                row.against,
                short(row.ratio),
                optional(row.floor),
                optional(row.aim),
                row.mark(),
            );
        }
        text
    }
}

fn heading() -> String {
    format!(
        "{:<44} {:>12} {:<10} {:>12} {:<14} {:>7} {:>6} {:>6}",
        "row", "measured", "unit", "limit", "against", "ratio", "floor", "aim"
    )
}

impl Row {
    fn line(&self) -> String {
        format!(
            "{:<44} {:>12} {:<10} {:>12} {:<14} {:>7} {:>6} {:>6}  {}",
            self.name,
            short(self.value),
            self.unit,
            short(self.limit),
            self.against,
            short(self.ratio),
            optional(self.floor),
            optional(self.aim),
            self.mark(),
        )
    }

    const fn mark(&self) -> &'static str {
        match (self.meets_floor, self.meets_aim) {
            (_, Some(true)) => "aim",
            (Some(true), _) => "floor",
            (Some(false), _) => "UNDER",
            (None, _) => "",
        }
    }
}

/// Three digits that count, and no fraction where there are enough before it.
fn short(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value}"))
}

#[cfg(test)]
mod tests {
    use super::{Report, Target};
    use crate::bench::machine::Facts;

    #[test]
    fn ratios_are_medians_of_runs_and_know_which_way_is_good() {
        let mut report = Report {
            machine: Facts::default(),
            rows: Vec::new(),
            failures: Vec::new(),
            took: Vec::new(),
        };
        let rates = [(50.0, 100.0), (10.0, 100.0), (90.0, 100.0)];
        report.add(
            Target::rate("rate", "1/s", "L1").reach(0.45, 0.6),
            &rates,
            None,
        );
        report.add(
            Target::time("time", "L2").reach(1.5, 1.1),
            &[(1.2, 1.0)],
            None,
        );
        report.add(
            Target::within("list", "ms").reach(1.0, 2.0),
            &[(8.0, 20.0)],
            None,
        );
        let met: Vec<_> = report
            .rows
            .iter()
            .map(|row| (row.meets_floor, row.meets_aim))
            .collect();
        assert_eq!(
            met,
            [
                (Some(true), Some(false)),
                (Some(true), Some(false)),
                (Some(true), Some(true))
            ]
        );
        assert!(
            report
                .markdown()
                .contains("| `rate` | 50.0 1/s | 100 (L1) | 0.50 | 0.45 | 0.6 | floor |")
        );
    }
}
