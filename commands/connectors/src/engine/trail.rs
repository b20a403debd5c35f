//! Where a walk has been, so that a source that sends it round in a circle is noticed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use roster_commands::sync::source::SourceError;
use serde_json::Value;

/// The most pages of one walk.
const MOST: usize = 2_000_000;

/// The places that were asked for, with their turn.
#[derive(Default)]
pub(super) struct Trail(HashMap<u64, usize>);

impl Trail {
    /// A page is asked for; asking for the same one again is no circle.
    pub(super) fn asked(&mut self, place: Option<&Value>) {
        let Some(place) = place else {
            return self.0.clear();
        };
        let turn = self.0.len();
        match self.0.get(&key(place)).copied() {
            Some(turn) => self.0.retain(|_, other| *other <= turn),
            None => {
                self.0.insert(key(place), turn);
            }
        }
    }

    /// The page says where it goes on.
    pub(super) fn leads(&self, place: Option<&Value>) -> Result<(), SourceError> {
        let Some(place) = place else { return Ok(()) };
        if self.0.contains_key(&key(place)) {
            let message =
                "the source sends the walk back to where it was: the same cursor came twice";
            return Err(SourceError::Answer(message.into()));
        }
        if self.0.len() >= MOST {
            return Err(SourceError::Refused(format!("more than {MOST} pages")));
        }
        Ok(())
    }
}

/// The vendor's word for a place; what was seen before it is no part of it.
fn key(place: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    place
        .get("at")
        .unwrap_or(place)
        .to_string()
        .hash(&mut hasher);
    hasher.finish()
}
