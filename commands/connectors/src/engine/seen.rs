//! Instants as vendors write them, and from where on the next walk asks for changes.

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use roster_domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The instant that a value means: RFC 3339 with or without a colon in its offset, a time without an offset as UTC, a date, or
/// seconds or milliseconds since 1970.
pub(crate) fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => {
            let number = number.as_i64()?;
            let unit = if number.abs() < 100_000_000_000 {
                1_000_000
            } else {
                1_000
            };
            number.checked_mul(unit).map(Timestamp)
        }
        Value::String(text) => {
            let text = text.trim();
            let offset = DateTime::parse_from_rfc3339(text)
                .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
            if let Ok(instant) = offset {
                return Some(instant.with_timezone(&Utc).into());
            }
            let zoneless = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
                .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"))
                .or_else(|_| {
                    NaiveDateTime::parse_from_str(&format!("{text} 00:00:00"), "%Y-%m-%d %H:%M:%S")
                });
            match zoneless {
                Ok(instant) => Some(instant.and_utc().into()),
                Err(_) => instant(&Value::from(text.parse::<i64>().ok()?)),
            }
        }
        _ => None,
    }
}

/// An instant to the second, as most vendors want it.
pub(crate) fn seconds(instant: Timestamp) -> String {
    instant.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// What a walk has seen of the times of change. It travels in the place of the walk.
///
/// The next walk starts at the latest change seen that is no later than the beginning of this one: what changed during the walk may
/// have been passed already.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Microseconds since 1970.
    started: Option<i64>,
    latest: Option<i64>,
}

impl Seen {
    /// Notes when the walk began, at its first answer.
    pub(crate) fn begin(&mut self, at: Timestamp) {
        self.started.get_or_insert(at.0);
    }

    /// Notes when a record changed.
    pub(crate) fn note(&mut self, changed: Option<&Value>) {
        let changed = changed.and_then(instant).map(|instant| instant.0);
        let counts =
            changed.filter(|changed| self.started.is_none_or(|started| *changed <= started));
        self.latest = self.latest.max(counts);
    }

    /// The cursor after a walk that began at another: so many seconds before the latest change, never backwards.
    pub(crate) fn cursor(&self, since: Option<&Value>, look_back: u64) -> Option<Value> {
        let back = i64::try_from(look_back).unwrap_or(i64::MAX);
        let before = since.and_then(instant);
        let latest = self
            .latest
            .map(|latest| Timestamp(latest).plus_seconds(-back));
        let cursor = before.max(latest)?;
        Some(Value::String(cursor.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::Timestamp;
    use serde_json::json;

    use super::{Seen, instant, seconds};

    #[test]
    fn every_vendors_spelling_of_an_instant_is_read() {
        let noon = instant(&json!("2026-05-01T12:00:00Z"));
        assert_eq!(noon.map(seconds).as_deref(), Some("2026-05-01T12:00:00Z"));
        for spelling in [
            json!("2026-05-01T12:00:00.000+0000"),
            json!("2026-05-01T14:00:00+02:00"),
            json!("2026-05-01 12:00:00"),
            json!("2026-05-01T12:00:00"),
            json!(1_777_636_800),
            json!(1_777_636_800_000_i64),
            json!("1777636800"),
        ] {
            assert_eq!(instant(&spelling), noon, "{spelling}");
        }
        assert_eq!(instant(&json!("soon")), None);
    }

    #[test]
    fn a_cursor_stays_behind_the_beginning_of_its_walk_and_never_goes_back() {
        let mut seen = Seen::default();
        seen.begin(Timestamp(1_000_000_000));
        for changed in [900, 950, 1_001] {
            seen.note(Some(&json!(changed)));
        }
        assert_eq!(
            seen.cursor(None, 50),
            Some(json!("1970-01-01T00:15:00.000000Z"))
        );
        let since = json!("1970-01-01T00:15:30Z");
        assert_eq!(
            seen.cursor(Some(&since), 50),
            Some(json!("1970-01-01T00:15:30.000000Z"))
        );
        assert_eq!(Seen::default().cursor(None, 0), None);
    }
}
