//! The rules of a customer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::identities::{self, Move};
use super::{
    ApplySchema, Customer, CustomerCommand, CustomerEvent, CustomerRefusal, DataSource,
    ProfileChange,
};
use super::{SourceKind, Status, Tagging, Upsert};
use crate::access::Access;
use crate::schema::Schema;
use crate::value::{Profile, SmolStr, Value};
use crate::{Personal, Problem, Timestamp};

/// The events that a command causes; none where nothing changes.
pub fn decide(
    customer: &Customer,
    command: &CustomerCommand,
) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    match command {
        CustomerCommand::Upsert(upsert) if customer.is_active() => update(customer, upsert, None),
        // A person who comes back after an erasure is another customer, with a stream of their own.
        CustomerCommand::Upsert(_) if customer.status == Status::Erased => {
            Err(CustomerRefusal::CustomerNotFound)
        }
        CustomerCommand::Upsert(upsert) => register(upsert),
        CustomerCommand::ApplySchema(apply) => Ok(apply_schema(customer, apply)),
        _ if !customer.is_active() => Err(CustomerRefusal::CustomerNotFound),
        CustomerCommand::SetConnectorEnabled {
            at,
            channel,
            enabled,
        } => Ok(switch(customer, channel, *enabled, *at)),
        CustomerCommand::LinkIdentity {
            at,
            identity,
            linked_by,
        } => Ok(identities::link(customer, identity, *linked_by, *at)),
        CustomerCommand::UnlinkIdentity(unlink) => identities::unlink(customer, unlink),
        CustomerCommand::AttachGrant(attach) => identities::attach(customer, attach),
        CustomerCommand::RevokeGrants { at, channel } => identities::revoke(customer, channel, *at),
        CustomerCommand::DisableAtSource { at, connection_id } => {
            Ok(disable_at_source(customer, connection_id, *at))
        }
        CustomerCommand::Erase { at } => Ok(vec![CustomerEvent::Erased { at: *at }]),
    }
}

/// Nothing happens to a row of another source, or to somebody who is off already, whoever did that.
fn disable_at_source(
    customer: &Customer,
    connection_id: &str,
    at: Timestamp,
) -> Vec<CustomerEvent> {
    let is_own = customer.source.connection_id.as_deref() == Some(connection_id);
    if !is_own || !customer.enabled {
        return Vec::new();
    }
    vec![CustomerEvent::Updated {
        at,
        fields: Vec::new(),
        change: Personal::new(ProfileChange::default()),
        enabled: Some(false),
        connector_enabled: BTreeMap::new(),
        source: Some(DataSource {
            synced_at: Some(at),
            ..customer.source.clone()
        }),
        claimed: customer.claimed.clone(),
    }]
}

fn switch(customer: &Customer, channel: &str, enabled: bool, at: Timestamp) -> Vec<CustomerEvent> {
    let wanted = BTreeMap::from([(channel.to_owned(), enabled)]);
    let connector_enabled = changed_switches(customer, &wanted);
    if connector_enabled.is_empty() {
        return Vec::new();
    }
    vec![CustomerEvent::Updated {
        at,
        fields: Vec::new(),
        change: Personal::new(ProfileChange::default()),
        enabled: None,
        connector_enabled,
        source: None,
        claimed: customer.claimed.clone(),
    }]
}

/// The switches that differ from those the customer has; an absent channel is on.
fn changed_switches(
    customer: &Customer,
    wanted: &BTreeMap<String, bool>,
) -> BTreeMap<String, bool> {
    let has = |channel: &String| {
        let switch = customer.connector_enabled.get(channel);
        switch.copied().unwrap_or(true)
    };
    let changed = wanted.iter().filter(|(channel, on)| has(channel) != **on);
    changed
        .map(|(channel, on)| (channel.clone(), *on))
        .collect()
}

fn register(upsert: &Upsert) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    if upsert
        .expected_version
        .is_some_and(|expected| expected != 0)
    {
        return Err(CustomerRefusal::VersionConflict { current: 0 });
    }
    let mut profile: Profile = upsert
        .changes
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    let primary_key = upsert.schema.primary_key();
    if !profile.contains_key(primary_key) {
        // The id of a new customer passes the rules of the field that it fills.
        let id = Value::Text(upsert.customer_user_id.as_str().into());
        upsert
            .schema
            .read_stored(primary_key, &id)
            .map_err(|problem| CustomerRefusal::Invalid(vec![problem]))?;
    }
    if let Some(id) = absent_primary_key(&profile, upsert)? {
        profile.insert(primary_key.into(), id);
    }
    let missing = missing_fields(&upsert.schema, &profile, |_| true);
    refuse(missing)?;
    check_size(&upsert.schema, &profile)?;
    let identities = Move {
        schema: &upsert.schema,
        access: &Access::default(),
        old: None,
        new: &profile,
        at: upsert.at,
        except: None,
    }
    .events();
    let registered = CustomerEvent::Registered {
        at: upsert.at,
        customer_user_id: Personal::new(upsert.customer_user_id.clone()),
        claimed: claimed_fields(upsert, &profile),
        profile: Personal::new(profile),
        enabled: upsert.enabled.unwrap_or(true),
        connector_enabled: upsert.connector_enabled.clone(),
        source: match &upsert.tagging {
            Tagging::Keep => DataSource::manual(),
            Tagging::Set(source) | Tagging::Adopt(source) | Tagging::Sync { source, .. } => {
                source.clone()
            }
        },
    };
    Ok(std::iter::once(registered).chain(identities).collect())
}

/// `except` is a channel whose new identity the command itself links.
pub(super) fn update(
    customer: &Customer,
    upsert: &Upsert,
    except: Option<&str>,
) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    if upsert
        .expected_version
        .is_some_and(|expected| expected != customer.version)
    {
        return Err(CustomerRefusal::VersionConflict {
            current: customer.version,
        });
    }
    if upsert.skip_existing {
        return Ok(Vec::new());
    }
    let Some(old) = customer.profile.known() else {
        return Err(CustomerRefusal::CustomerNotFound);
    };
    let mut profile = changed_profile(old, upsert);
    if let Some(id) = absent_primary_key(&profile, upsert)? {
        let primary_key = upsert.schema.primary_key().into();
        profile.to_mut().insert(primary_key, id);
    }
    let missing = missing_fields(&upsert.schema, &profile, |field| {
        upsert.replace || upsert.changes.contains_key(field)
    });
    refuse(missing)?;
    check_size(&upsert.schema, &profile)?;

    let change = match &profile {
        Cow::Borrowed(_) => ProfileChange::default(),
        Cow::Owned(profile) => difference(old, profile),
    };
    let enabled = new_switch(customer, upsert);
    let connector_enabled = changed_switches(customer, &upsert.connector_enabled);
    let fields = changed_fields(&change);
    let is_changed = !fields.is_empty() || enabled.is_some() || !connector_enabled.is_empty();
    let source = new_source(customer, &upsert.tagging, is_changed);
    if !is_changed && source.is_none() {
        return Ok(Vec::new());
    }
    let identities = Move {
        schema: &upsert.schema,
        access: &customer.access,
        old: Some(old),
        new: &profile,
        at: upsert.at,
        except,
    }
    .events();
    let updated = CustomerEvent::Updated {
        at: upsert.at,
        fields,
        change: Personal::new(change),
        enabled,
        connector_enabled,
        source,
        claimed: claimed_fields(upsert, &profile),
    };
    Ok(std::iter::once(updated).chain(identities).collect())
}

/// The switch that an update writes. A record that comes back switches on whom its own connection switched off; a person
/// who switches off whom the source had switched off takes that over.
fn new_switch(customer: &Customer, upsert: &Upsert) -> Option<bool> {
    match (&upsert.tagging, upsert.enabled) {
        (Tagging::Sync { source, takes_over }, None) => {
            let is_own = *takes_over || owns(customer, source);
            (is_own && customer.is_disabled_at_source).then_some(true)
        }
        (Tagging::Sync { .. }, wanted) => wanted.filter(|enabled| *enabled != customer.enabled),
        (_, Some(false)) if customer.is_disabled_at_source => Some(false),
        (_, wanted) => wanted.filter(|enabled| *enabled != customer.enabled),
    }
}

/// Whether a row is one of the connection that a tag names.
fn owns(customer: &Customer, source: &DataSource) -> bool {
    customer.source.kind == SourceKind::DirectorySync
        && customer.source.connection_id == source.connection_id
}

/// The tag that an update writes, if it differs from the one the row has. `is_changed` is whether anything else changes.
fn new_source(customer: &Customer, tagging: &Tagging, is_changed: bool) -> Option<DataSource> {
    let has = customer.source.kind;
    let wanted = match tagging {
        Tagging::Set(source) => source,
        Tagging::Adopt(source) if has == SourceKind::Manual => source,
        Tagging::Sync { source, takes_over } => {
            if is_changed && owns(customer, source) {
                return Some(source.clone());
            }
            let is_free = matches!(has, SourceKind::Manual | SourceKind::Csv);
            if !is_free && !takes_over && !owns(customer, source) {
                return None;
            }
            source
        }
        Tagging::Keep | Tagging::Adopt(_) => return None,
    };
    (!wanted.same_source(&customer.source)).then(|| wanted.clone())
}

/// Re-reads the stored values of the fields whose meaning the schema changes, and takes the claims it asks for.
fn apply_schema(customer: &Customer, apply: &ApplySchema) -> Vec<CustomerEvent> {
    let Some(old) = customer.profile.known().filter(|_| customer.is_active()) else {
        return Vec::new();
    };
    let mut profile = old.clone();
    for field in apply.schema.indexed_fields() {
        let Some(value) = old.get(field) else {
            continue;
        };
        // A value that the new type cannot read stays as it is; reads mark the record as not valid.
        if let Ok(Some(canonical)) = apply.schema.read_stored(field, value) {
            profile.insert(field.into(), canonical);
        }
    }
    let mut claimed = customer.claimed.clone();
    claimed.extend(apply.schema.unique_fields().map(SmolStr::new));
    let claimed = held(claimed, &profile);
    let change = difference(old, &profile);
    let fields = changed_fields(&change);
    if !fields.is_empty() {
        let identities = Move {
            schema: &apply.schema,
            access: &customer.access,
            old: Some(old),
            new: &profile,
            at: apply.at,
            except: None,
        }
        .events();
        let updated = CustomerEvent::Updated {
            at: apply.at,
            fields,
            change: Personal::new(change),
            enabled: None,
            connector_enabled: BTreeMap::new(),
            source: None,
            claimed,
        };
        std::iter::once(updated).chain(identities).collect()
    } else if claimed != customer.claimed {
        vec![CustomerEvent::FieldsClaimed {
            at: apply.at,
            claimed,
        }]
    } else {
        Vec::new()
    }
}

/// The profile after an upsert: the one that is there, where no value differs.
fn changed_profile<'a>(old: &'a Profile, upsert: &Upsert) -> Cow<'a, Profile> {
    let mut changes = upsert.changes.iter();
    if !upsert.replace && changes.all(|(name, value)| old.get(name) == value.as_ref()) {
        return Cow::Borrowed(old);
    }
    let mut profile = if upsert.replace {
        Profile::new()
    } else {
        old.clone()
    };
    for (name, value) in &upsert.changes {
        match value {
            Some(value) => profile.insert(name.clone(), value.clone()),
            None => profile.remove(name),
        };
    }
    Cow::Owned(profile)
}

/// The primary-key value that the id gives where the profile has none; one that differs from the id is refused.
fn absent_primary_key(
    profile: &Profile,
    upsert: &Upsert,
) -> Result<Option<Value>, CustomerRefusal> {
    let primary_key = upsert.schema.primary_key();
    match profile.get(primary_key) {
        Some(value) if value.as_text() != upsert.customer_user_id => {
            Err(CustomerRefusal::PrimaryKeyMismatch)
        }
        Some(_) => Ok(None),
        None => {
            let id = Value::Text(upsert.customer_user_id.as_str().into());
            let value = upsert
                .schema
                .read_stored(primary_key, &id)
                .ok()
                .flatten()
                .unwrap_or(id);
            if value.as_text() != upsert.customer_user_id {
                return Err(CustomerRefusal::PrimaryKeyMismatch);
            }
            Ok(Some(value))
        }
    }
}

fn missing_fields(
    schema: &Schema,
    profile: &Profile,
    asked: impl Fn(&str) -> bool,
) -> Vec<Problem> {
    schema
        .required_fields()
        .filter(|field| asked(field) && !profile.contains_key(*field))
        .map(|field| Problem::new(["profile", field], "value_required", "a value is required"))
        .collect()
}

fn check_size(schema: &Schema, profile: &Profile) -> Result<(), CustomerRefusal> {
    refuse(schema.check_profile_size(profile))
}

fn refuse(problems: Vec<Problem>) -> Result<(), CustomerRefusal> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(CustomerRefusal::Invalid(problems))
    }
}

fn claimed_fields(upsert: &Upsert, profile: &Profile) -> Vec<SmolStr> {
    let unique = upsert
        .schema
        .unique_fields()
        .chain(upsert.pending_unique.iter().map(String::as_str))
        .map(SmolStr::new);
    held(unique.collect(), profile)
}

/// The fields of a list that have a value, sorted and without doubles.
fn held(mut fields: Vec<SmolStr>, profile: &Profile) -> Vec<SmolStr> {
    fields.retain(|field| profile.contains_key(field));
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn difference(old: &Profile, new: &Profile) -> ProfileChange {
    ProfileChange {
        set: new
            .iter()
            .filter(|(name, value)| old.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        cleared: old
            .keys()
            .filter(|name| !new.contains_key(*name))
            .cloned()
            .collect(),
    }
}

fn changed_fields(change: &ProfileChange) -> Vec<SmolStr> {
    let mut fields: Vec<SmolStr> = change.set.keys().chain(&change.cleared).cloned().collect();
    fields.sort_unstable();
    fields
}
