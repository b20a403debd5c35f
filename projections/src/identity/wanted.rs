//! The values that the rules may look up for a sighting, found by running them over an empty directory.

use std::cell::RefCell;

use roster_domain::access::{ConnectorIdentity, Hits, Lookup, find};

use super::Asked;

/// A value of a field.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) field: String,
    pub(super) value: String,
}

/// Every value that matching may ask for, in its order. Where somebody has one of the earlier ones, the later are not
/// asked for.
pub(super) fn wanted(asked: &Asked<'_>) -> Vec<Wanted> {
    let noted = Noted(RefCell::new(Vec::new()));
    find(asked.schema, &noted, asked.sighting());
    noted.0.into_inner()
}

struct Noted(RefCell<Vec<Wanted>>);

impl Lookup for Noted {
    type Customer = ();

    fn linked(&self, _: &ConnectorIdentity) -> Option<()> {
        None
    }

    fn holders(&self, field: &str, value: &str) -> Hits<()> {
        self.0.borrow_mut().push(Wanted {
            field: field.to_owned(),
            value: value.to_owned(),
        });
        Hits::None
    }

    fn is_blocked(&self, _: &ConnectorIdentity, (): ()) -> bool {
        false
    }
}
