//! What a snapshot of a customer holds, read without making the customer: `log verify` asks it of everybody, and two dozen
//! texts of a profile would be copied for the one or two that are claims.

use serde::Deserialize;

use super::{SourceKind, Status};
use crate::access::Access;
use crate::stream::{Claim, Held};
use crate::{Personal, Timestamp};

/// [`super::Customer`] field by field, its texts where they lie; a map is stored as a list of pairs.
#[derive(Deserialize)]
struct Snapshot<'a> {
    status: Status,
    #[serde(borrow)]
    customer_user_id: Personal<&'a str>,
    #[serde(borrow)]
    profile: Personal<Vec<(&'a str, Value<'a>)>>,
    _enabled: bool,
    #[serde(borrow)]
    _connector_enabled: Vec<(&'a str, bool)>,
    #[serde(borrow)]
    _source: Source<'a>,
    _is_adopted: bool,
    _is_disabled_at_source: bool,
    #[serde(borrow)]
    claimed: Vec<&'a str>,
    _version: i32,
    _created_at: Timestamp,
    _updated_at: Timestamp,
    access: Access,
}

/// [`crate::value::Value`].
#[derive(Clone, Copy, Deserialize)]
enum Value<'a> {
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
}

/// [`super::DataSource`].
#[derive(Deserialize)]
struct Source<'a> {
    _kind: SourceKind,
    #[serde(borrow)]
    _provider: Option<&'a str>,
    #[serde(borrow)]
    _connection_id: Option<&'a str>,
    #[serde(borrow)]
    _external_id: Personal<Option<&'a str>>,
    _synced_at: Option<Timestamp>,
}

impl<'a> Value<'a> {
    const fn as_text(self) -> &'a str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
        }
    }
}

/// As [`super::Customer`] tells it of itself; `None` where the bytes are no snapshot of one.
pub(super) fn held(snapshot: &[u8]) -> Option<Held> {
    let state: Snapshot<'_> = postcard::from_bytes(snapshot).ok()?;
    Some(Held {
        claims: claims(&state),
        is_closed: state.status == Status::Erased,
    })
}

fn claims(state: &Snapshot<'_>) -> Vec<Claim> {
    let (Status::Active, Some(id), Some(profile)) = (
        state.status,
        state.customer_user_id.known(),
        state.profile.known(),
    ) else {
        return Vec::new();
    };
    let value_of = |field: &&str| profile.iter().find(|(name, _)| name == field);
    let unique = state.claimed.iter().filter_map(value_of);
    let linked = state.access.links.iter().map(|link| link.identity.claim());
    std::iter::once(Claim::customer_id(id))
        .chain(unique.map(|(field, value)| Claim::unique_value(field, value.as_text())))
        .chain(linked)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::held;
    use crate::access::{Access, ConnectorIdentity, Grant, Link, LinkedBy, Terms};
    use crate::customer::{Customer, DataSource, SourceKind, Status};
    use crate::stream::Held;
    use crate::value::Value;
    use crate::{Personal, Timestamp};

    fn identity(text: &str) -> ConnectorIdentity {
        ConnectorIdentity {
            channel: "slack".into(),
            external_user_id: text.into(),
        }
    }

    fn full() -> Customer {
        Customer {
            status: Status::Active,
            customer_user_id: Personal::new("Ünï".into()),
            profile: Personal::new(
                [
                    ("age".into(), Value::Number("-12.5".into())),
                    ("email".into(), Value::Text("ada@example.org".into())),
                    ("vip".into(), Value::Bool(true)),
                ]
                .into(),
            ),
            enabled: true,
            connector_enabled: BTreeMap::from([("slack".to_owned(), false)]),
            source: DataSource {
                kind: SourceKind::DirectorySync,
                provider: Some("hubspot".into()),
                connection_id: Some("c1".into()),
                external_id: Personal::new(Some("row".into())),
                synced_at: Some(Timestamp(-7)),
            },
            is_adopted: true,
            is_disabled_at_source: true,
            claimed: vec!["email".into(), "age".into(), "vip".into(), "none".into()],
            version: 300,
            created_at: Timestamp(1),
            updated_at: Timestamp(1_750_000_000_000_000),
            access: Access {
                links: vec![Link {
                    identity: identity("U1"),
                    linked_by: LinkedBy::Auto,
                    linked_at: Timestamp(5),
                }],
                grants: vec![Grant {
                    identity: identity("U1"),
                    terms: Terms {
                        agents: vec!["*".into()],
                        enabled: true,
                        expires_at: Some(Timestamp(9)),
                    },
                    granted_at: Timestamp(6),
                }],
                blocked: vec![identity("U2")],
            },
        }
    }

    #[test]
    fn a_snapshot_holds_what_its_customer_holds() {
        let erased = Customer {
            status: Status::Erased,
            customer_user_id: Personal::Erased,
            profile: Personal::Erased,
            claimed: Vec::new(),
            access: Access::default(),
            ..full()
        };
        assert_eq!(Held::of(&full()).claims.len(), 5);
        for customer in [full(), erased, Customer::default()] {
            let snapshot = postcard::to_stdvec(&customer).expect("bytes");
            assert_eq!(held(&snapshot), Some(Held::of(&customer)));
        }
    }

    #[test]
    fn bytes_that_are_cut_off_are_no_snapshot() {
        let snapshot = postcard::to_stdvec(&full()).expect("bytes");
        for length in 0..snapshot.len() {
            assert_eq!(held(&snapshot[..length]), None);
        }
    }
}
