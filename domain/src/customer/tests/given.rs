//! What the tests start from.

use std::collections::BTreeMap;
use std::sync::Arc;

use cqrs_es::test::TestFramework;

use crate::customer::{
    Customer, CustomerCommand, CustomerEvent, DataSource, ProfileChange, Tagging, Upsert,
};
use crate::schema::{Definition, Schema};
use crate::value::{Profile, SmolStr, Value};
use crate::{Personal, Timestamp};

pub(super) const AT: Timestamp = Timestamp(1_767_225_600_000_000);

pub(super) fn customers() -> TestFramework<Customer> {
    TestFramework::with(())
}

pub(super) fn text(value: &str) -> Value {
    Value::Text(value.into())
}

pub(super) fn schema(change: impl FnOnce(&mut Definition)) -> Arc<Schema> {
    let mut definition = Definition::default();
    change(&mut definition);
    Arc::new(Schema::compile(definition, 1).expect("a valid schema"))
}

/// The default schema with a unique e-mail.
pub(super) fn unique_email() -> Arc<Schema> {
    schema(|definition| definition.fields[1].unique = true)
}

/// An upsert of `ada` that names these fields.
pub(super) fn upsert(changes: &[(&str, Option<&str>)]) -> Upsert {
    Upsert {
        schema: unique_email(),
        pending_unique: Arc::from([]),
        at: AT,
        customer_user_id: "ada".into(),
        changes: changes
            .iter()
            .map(|(name, value)| ((*name).into(), value.map(text)))
            .collect(),
        replace: false,
        enabled: None,
        connector_enabled: BTreeMap::new(),
        tagging: Tagging::Keep,
        expected_version: None,
        skip_existing: false,
    }
}

impl From<Upsert> for CustomerCommand {
    fn from(upsert: Upsert) -> Self {
        Self::Upsert(upsert)
    }
}

/// The profile of `ada`, the id included.
pub(super) fn profile(values: &[(&str, &str)]) -> Profile {
    let id = ("customer_user_id".into(), text("ada"));
    values
        .iter()
        .map(|(name, value)| ((*name).into(), text(value)))
        .chain([id])
        .collect()
}

/// `ada` registered with these values.
pub(super) fn registered(values: &[(&str, &str)]) -> CustomerEvent {
    let has_email = values.iter().any(|(name, _)| *name == "email");
    CustomerEvent::Registered {
        at: AT,
        customer_user_id: Personal::new("ada".into()),
        profile: Personal::new(profile(values)),
        enabled: true,
        connector_enabled: BTreeMap::new(),
        source: DataSource::manual(),
        claimed: if has_email {
            vec!["email".into()]
        } else {
            Vec::new()
        },
    }
}

/// An update that sets and clears, and leaves these claims.
pub(super) fn updated(set: &[(&str, &str)], cleared: &[&str], claimed: &[&str]) -> CustomerEvent {
    let mut fields: Vec<SmolStr> = set
        .iter()
        .map(|(name, _)| name)
        .chain(cleared)
        .map(|name| (*name).into())
        .collect();
    fields.sort_unstable();
    CustomerEvent::Updated {
        at: AT,
        fields,
        change: Personal::new(ProfileChange {
            set: set
                .iter()
                .map(|(name, value)| ((*name).into(), text(value)))
                .collect(),
            cleared: cleared.iter().map(|name| (*name).into()).collect(),
        }),
        enabled: None,
        connector_enabled: BTreeMap::new(),
        source: None,
        claimed: claimed.iter().map(|field| (*field).into()).collect(),
    }
}

pub(super) fn erased() -> CustomerEvent {
    CustomerEvent::Erased { at: AT }
}

pub(super) fn folded(events: impl IntoIterator<Item = CustomerEvent>) -> Customer {
    let mut customer = Customer::default();
    for event in events {
        customer.fold(event);
    }
    customer
}
