//! Where a walk through lists goes on, and what it has seen on its way.

use roster_commands::sync::source::{Page, Record, SourceError, Walk};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{at, record};
use super::seen::Seen;

/// A place in a walk: the vendor's word for it, and the times of change seen before it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The vendor's word; null at the beginning.
    pub(crate) at: Value,
    /// The times of change.
    pub(crate) seen: Seen,
}

impl Place {
    /// Where a walk stands.
    pub(crate) fn of(walk: &Walk) -> Result<Self, SourceError> {
        walk.place.clone().map_or_else(
            || Ok(Self::default()),
            |place| {
                serde_json::from_value(place)
                    .map_err(|_| SourceError::PlaceGone("the place is of another version".into()))
            },
        )
    }

    /// The vendor's word as a text.
    pub(crate) fn word(&self) -> Option<&str> {
        self.at.as_str()
    }

    /// The records of a list, each with its id at a path and, where there is one, its time of change at another.
    pub(crate) fn records(
        &mut self,
        list: Vec<Value>,
        id: &str,
        changed: &str,
    ) -> Result<Vec<Record>, SourceError> {
        list.into_iter()
            .map(|value| {
                if !changed.is_empty() {
                    self.seen.note(at(&value, changed));
                }
                record(value, id)
            })
            .collect()
    }

    /// The page that leads to another place, or ends the walk with a cursor so many seconds before the latest change.
    pub(crate) fn page(
        self,
        records: Vec<Record>,
        next: Option<impl Into<Value>>,
        walk: &Walk,
        look_back: u64,
    ) -> Page {
        let Some(next) = next else {
            return Page {
                records,
                place: None,
                cursor: self.seen.cursor(walk.since.as_ref(), look_back),
            };
        };
        let place = Self {
            at: next.into(),
            seen: self.seen,
        };
        Page {
            records,
            place: serde_json::to_value(place).ok(),
            cursor: None,
        }
    }
}
