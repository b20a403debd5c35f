//! When runs start by themselves: cron in a time zone, moved a little so that not all connections start at once.

use std::str::FromStr;

use chrono_tz::Tz;
use croner::Cron;
use roster_domain::connection::{Connection, Schedule};
use roster_domain::{Problem, Timestamp};
use uuid::Uuid;

/// By how much a start is moved at most, in seconds.
const JITTER: u128 = 60;

/// Refuses a schedule that names no times.
pub(super) fn check(schedule: &Schedule, member: &str) -> Result<(), Problem> {
    if Tz::from_str(&schedule.time_zone).is_err() {
        let message = "must be a time zone such as Europe/Berlin";
        return Err(Problem::new(
            [member, "time_zone"],
            "time_zone_unknown",
            message,
        ));
    }
    if next(schedule, Timestamp(1_767_225_600_000_000)).is_none() {
        let message = "must be five fields of cron that come to pass";
        return Err(Problem::new([member, "cron"], "cron_invalid", message));
    }
    Ok(())
}

/// The first time of a schedule after an instant.
fn next(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    let zone = Tz::from_str(&schedule.time_zone).ok()?;
    if schedule.cron.split_whitespace().count() != 5 {
        return None;
    }
    let cron = Cron::from_str(&schedule.cron).ok()?;
    let after = after.to_utc().with_timezone(&zone);
    let found = cron.find_next_occurrence(&after, false).ok()?;
    Some(found.to_utc().into())
}

/// By how much the starts of a connection are moved, in seconds.
fn jitter(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() % JITTER).unwrap_or_default()
}

/// The next full run, and the next other one; missed times count once.
fn next_times(connection: &Connection) -> [Option<Timestamp>; 2] {
    if !connection.is_scheduled() {
        return [None, None];
    }
    let settings = &connection.settings;
    [
        (&settings.full_schedule, connection.full_since),
        (&settings.schedule, connection.scheduled_since),
    ]
    .map(|(schedule, since)| {
        let at = next(schedule.as_ref()?, since)?;
        let at = at.plus_seconds(jitter(connection.id));
        Some(at.max(connection.retry_at.unwrap_or(at)))
    })
}

/// Whether a run is due, and then whether a full one: where both are due, the full one is both.
pub(super) fn due(connection: &Connection, now: Timestamp) -> Option<bool> {
    let [full, part] = next_times(connection).map(|at| at.is_some_and(|at| at <= now));
    (full || part).then_some(full)
}

/// When the next run of a connection starts by itself.
pub fn next_run_at(connection: &Connection) -> Option<Timestamp> {
    next_times(connection).into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use roster_domain::Timestamp;
    use roster_domain::connection::Schedule;

    use super::{check, next};

    fn schedule(cron: &str, time_zone: &str) -> Schedule {
        Schedule {
            cron: cron.into(),
            time_zone: time_zone.into(),
        }
    }

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).expect("a time")
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let three = schedule("0 3 * * *", "Europe/Berlin");
        for (after, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"),
            ("2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
            ("2026-07-01T01:00:00Z", "2026-07-02T01:00:00Z"),
        ] {
            assert_eq!(next(&three, at(after)), Some(at(expected)), "{after}");
        }
    }

    #[test]
    fn what_names_no_times_is_refused() {
        for (cron, zone) in [
            ("* * * * *", "Mars/Olympus"),
            ("61 * * * *", "UTC"),
            ("0 0 31 2 *", "UTC"),
            ("* * * * * *", "UTC"),
            ("", "UTC"),
        ] {
            assert!(check(&schedule(cron, zone), "schedule").is_err(), "{cron}");
        }
        assert_eq!(check(&schedule("*/5 * * * *", "UTC"), "schedule"), Ok(()));
    }
}
