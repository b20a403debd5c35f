//! Whether anything grew beyond what the population explains.
//!
//! Two parts of the time are compared: the second quarter, when caches are full and vacuum has come by, and the last. What is
//! compared is the most of the one with the middle of the other, so that a single peak is no growth.

use roster_domain::stream::claim_kind;

use super::caller::Tally;
use super::sample::Sample;
use crate::bench::stats::median;

/// Tables that grow with what happened, by the start of their names: the log with its closed streams, the journal, and what
/// tells of past jobs.
const GROW: [&str; 9] = [
    "log_events",
    "log_batches",
    "log_streams",
    "log_journal",
    "log_idempotency",
    "view_audit_events",
    "view_imports",
    "view_import_issues",
    "view_purges",
];
/// Failures that are told one by one.
const SHOWN: usize = 10;
/// Of the bytes that a command adds to the log.
const BYTES: f64 = 1.1;

/// Growth that is none: so many times as much, and so much more.
#[derive(Clone, Copy)]
struct Slack {
    times: f64,
    more: f64,
}

/// The allocator keeps a little of what was freed.
const MEMORY: Slack = Slack {
    times: 1.05,
    more: 12.0,
};
/// Connections are opened when they are needed at once.
const HANDLES: Slack = Slack {
    times: 1.0,
    more: 6.0,
};
/// Dead rows stay until vacuum comes by, which is once a minute.
const TABLES: Slack = Slack {
    times: 1.25,
    more: 4.0,
};

/// What is wrong, in words; `under_way` is how many customers may be written or erased at a time.
pub(super) fn findings(samples: &[Sample], tally: &Tally, under_way: u32) -> Vec<String> {
    let mut findings = tally.failures();
    let more = findings.len().saturating_sub(SHOWN);
    findings.truncate(SHOWN);
    if more > 0 {
        findings.push(format!("{more} more requests failed"));
    }
    findings.extend(
        samples
            .iter()
            .flat_map(|sample| strays(sample, under_way.into()))
            .take(SHOWN),
    );
    // After the load nothing is under way.
    if let Some((last, during)) = samples.split_last() {
        findings.extend(strays(last, 0));
        findings.extend(growth(during));
    }
    findings
}

/// What is not as many as callers were told.
fn strays(sample: &Sample, under_way: i64) -> Vec<String> {
    let (customers, links) = sample.told;
    let claims = |kind| sample.claims.get(&kind).copied().unwrap_or_default();
    let (listed, searched, linked) = sample.read;
    let found = [
        ("customers in the log", sample.held.0, customers),
        ("customers that are listed", listed, customers),
        ("customers that can be searched", searched, customers),
        (
            "claims of customer ids",
            claims(claim_kind::CUSTOMER_ID),
            customers,
        ),
        (
            "claims of e-mail addresses",
            claims(claim_kind::UNIQUE_VALUE),
            customers,
        ),
        ("claims of identities", sample.held.1, links),
        ("links that are read", linked, links),
    ];
    let stray = |(what, found, told): (&str, i64, i64)| {
        ((found - told).abs() > under_way)
            .then(|| format!("after {:.0} s: {found} {what}, not {told}", sample.second))
    };
    found.into_iter().filter_map(stray).collect()
}

/// What grew from the second quarter of the samples to the last.
fn growth(samples: &[Sample]) -> Vec<String> {
    let series = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<_>>();
    let mut findings = Vec::new();
    let mut hold = |what: String, values: Vec<f64>, slack: Slack| {
        findings.extend(
            grew(&values, slack)
                .map(|(early, late)| format!("{what} grew from {early:.1} to {late:.1}")),
        );
    };
    let memory = series(&|sample| sample.memory_mib);
    hold("resident memory in MiB".into(), memory, MEMORY);
    let descriptors = series(&|sample| sample.descriptors);
    hold("file descriptors".into(), descriptors, HANDLES);
    let connections = series(&|sample| sample.connections);
    hold("connections to Postgres".into(), connections, HANDLES);
    let names = samples.last().map(|sample| sample.tables.keys());
    for name in names.into_iter().flatten() {
        if !GROW.iter().any(|known| name.starts_with(known)) {
            let sizes = series(&|sample| sample.tables.get(name).copied().unwrap_or_default());
            hold(format!("{name} in MiB"), sizes, TABLES);
        }
    }
    if let [Some(early), Some(late)] = [1, 3].map(|quarter| bytes_a_command(samples, quarter))
        && (late > early * BYTES || early > late * BYTES)
    {
        findings.push(format!(
            "a command adds {late:.0} bytes to the log, where it was {early:.0}"
        ));
    }
    findings
}

/// The most of the second quarter and the middle of the last, where that is more by more than the slack.
fn grew(values: &[f64], slack: Slack) -> Option<(f64, f64)> {
    let quarter = values.len() / 4;
    if quarter == 0 {
        return None;
    }
    let early = values[quarter..2 * quarter]
        .iter()
        .copied()
        .fold(0.0, f64::max);
    let late = median(&values[values.len() - quarter..]);
    (late > early * slack.times + slack.more).then_some((early, late))
}

/// Bytes that a command added to the log in a quarter of the time.
pub(super) fn bytes_a_command(samples: &[Sample], quarter: usize) -> Option<f64> {
    let at =
        |part: usize| samples.get((samples.len() * part / 4).min(samples.len().checked_sub(1)?));
    let (from, to) = (at(quarter)?, at(quarter + 1)?);
    added(from, to)
}

/// Bytes that a command added to the log between two samples.
pub(super) fn added(from: &Sample, to: &Sample) -> Option<f64> {
    let bytes = u32::try_from(to.log_bytes - from.log_bytes).ok()?;
    let commands = u32::try_from(to.commands.checked_sub(from.commands)?).ok()?;
    (commands > 0).then(|| f64::from(bytes) / f64::from(commands))
}

#[cfg(test)]
mod tests {
    use super::{Tally, findings};
    use crate::bench::soak::sample::Sample;

    /// Forty samples of a load that leaves everything as it is, and one after it.
    fn flat() -> Vec<Sample> {
        let sample = |number: u32| Sample {
            second: f64::from(number) * 5.0,
            commands: u64::from(number) * 500,
            memory_mib: 90.0,
            descriptors: 60.0,
            connections: 16.0,
            told: (2_000, 400),
            held: (2_000, 400),
            read: (2_000, 2_000, 400),
            claims: [(1, 2_000), (2, 2_000), (5, 400)].into(),
            events: i64::from(number) * 500,
            log_bytes: i64::from(number) * 500 * 300,
            tables: [
                ("view_customers".to_owned(), 8.0),
                ("log_events".to_owned(), f64::from(number)),
            ]
            .into(),
        };
        (0..=40).map(sample).collect()
    }

    fn found(change: impl Fn(usize, &mut Sample)) -> Vec<String> {
        let mut samples = flat();
        for (number, sample) in samples.iter_mut().enumerate() {
            change(number, sample);
        }
        findings(&samples, &Tally::default(), 400)
    }

    /// A value that grows from sample to sample.
    fn growing(number: usize, each: f64) -> f64 {
        f64::from(u32::try_from(number).expect("small")) * each
    }

    #[test]
    fn a_load_that_leaves_everything_as_it_is_has_no_findings() {
        assert_eq!(found(|_, _| ()), Vec::<String>::new());
    }

    #[test]
    fn a_peak_and_a_start_are_no_growth() {
        let calm = found(|number, sample| {
            // Caches fill in the first quarter, and one sample meets a large request.
            sample.memory_mib = if number < 10 {
                40.0 + growing(number, 5.0)
            } else {
                90.0
            };
            if number == 35 {
                sample.memory_mib = 160.0;
            }
        });
        assert_eq!(calm, Vec::<String>::new());
    }

    #[test]
    fn memory_descriptors_connections_and_tables_that_grow_are_found() {
        let leaks = found(|number, sample| {
            sample.memory_mib += growing(number, 2.0);
            sample.descriptors += growing(number, 1.0);
            sample.connections += growing(number, 1.0);
            sample
                .tables
                .insert("view_customers".into(), 8.0 + growing(number, 1.0));
        });
        let names = [
            "resident memory",
            "file descriptors",
            "connections",
            "view_customers",
        ];
        assert_eq!(leaks.len(), names.len(), "{leaks:?}");
        for (leak, name) in leaks.iter().zip(names) {
            assert!(leak.starts_with(name), "{leak}");
        }
    }

    #[test]
    fn the_log_may_grow_but_not_by_more_for_a_command() {
        let heavier = found(|number, sample| {
            if number > 25 {
                sample.log_bytes += 500 * 300 * i64::try_from(number - 25).expect("small");
            }
        });
        assert_eq!(
            heavier,
            ["a command adds 600 bytes to the log, where it was 300"]
        );
    }

    #[test]
    fn claims_beyond_the_population_are_found_once_nothing_is_under_way() {
        let during = found(|number, sample| {
            if number < 40 {
                sample.claims.insert(1, 2_300);
            }
        });
        assert_eq!(during, Vec::<String>::new());
        let left = found(|number, sample| {
            if number == 40 {
                sample.claims.insert(5, 403);
                sample.held.1 = 403;
            }
        });
        assert_eq!(left, ["after 200 s: 403 claims of identities, not 400"]);
    }
}
