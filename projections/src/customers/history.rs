//! The past of one customer, folded from the events of the stream: nothing of it is stored twice.

use chrono::{DateTime, Utc};
use roster_domain::access::Access;
use roster_domain::customer::{Customer, CustomerEvent};
use roster_domain::event::StoredEvent;
use roster_domain::value::{SmolStr, Value};
use roster_store::{Cell, Project, Recorded};
use uuid::Uuid;

use super::CustomerRow;
use crate::QueryError;
use crate::audit::{actor, paths};

/// How the path of a channel's grants begins.
const GRANTS: &str = "grants.";

/// One thing that happened to a customer.
#[derive(Clone)]
pub struct HistoryEntry {
    /// Its place in the log.
    pub position: i64,
    /// Its place in the customer's past, from 1.
    pub version: i32,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// The public name of its type.
    pub event_type: &'static str,
    /// Who acted, as [`actor`] spells it.
    pub actor: String,
    /// Whom the actor's token was for.
    pub subject: Option<String>,
    /// What changed, in the order of the event.
    pub changes: Vec<Changed>,
}

/// One part of the record before and after.
#[derive(Clone, PartialEq)]
pub struct Changed {
    /// A path into the record, such as `profile.email`.
    pub field: String,
    /// `None` where there was none, or where it was erased.
    pub old: Option<Value>,
    /// `None` where there is none, or where it was erased.
    pub new: Option<Value>,
}

impl std::fmt::Debug for HistoryEntry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HistoryEntry")
            .field("position", &self.position)
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// Up to when the past is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Everything recorded at this time or before.
    Time(DateTime<Utc>),
    /// Everything up to this position of the log.
    Position(i64),
}

impl AsOf {
    fn covers(self, recorded: &Recorded) -> bool {
        match self {
            Self::Time(time) => recorded.recorded_at <= time,
            Self::Position(position) => recorded.position <= position,
        }
    }
}

/// Everything that happened to a customer, the first thing first; empty where the project has no such customer.
pub async fn history(
    cell: &Cell,
    project: &Project,
    customer_ref: Uuid,
) -> Result<Vec<HistoryEntry>, QueryError> {
    let mut customer = Customer::default();
    let mut entries = Vec::new();
    for recorded in events(cell, project, customer_ref).await? {
        let event: CustomerEvent = recorded.decode()?;
        let before = customer.clone();
        let touched = touched(&event);
        customer.fold(event);
        let meta = recorded.meta()?;
        entries.push(HistoryEntry {
            position: recorded.position,
            version: recorded.version,
            recorded_at: recorded.recorded_at,
            event_type: recorded.name().unwrap_or_default(),
            actor: actor(&meta.principal),
            subject: meta.subject.into_known(),
            changes: touched
                .into_iter()
                .map(|field| Changed {
                    old: value(&before, &field),
                    new: value(&customer, &field),
                    field,
                })
                // Unlinking takes the grant along, if there is one.
                .filter(|change| change.old != change.new || !change.field.starts_with(GRANTS))
                .collect(),
        });
    }
    Ok(entries)
}

/// The record as it was, with links and grants; `None` where the customer was not there then, or was erased since.
pub async fn record_as_of(
    cell: &Cell,
    project: &Project,
    customer_ref: Uuid,
    as_of: AsOf,
) -> Result<Option<(CustomerRow, Access)>, QueryError> {
    let mut customer = Customer::default();
    let mut position = 0;
    for recorded in events(cell, project, customer_ref).await? {
        if !as_of.covers(&recorded) {
            break;
        }
        position = recorded.position;
        customer.fold(recorded.decode()?);
    }
    let row = CustomerRow::of_customer(customer_ref, &customer, position);
    Ok(row.map(|row| (row, customer.access)))
}

async fn events(
    cell: &Cell,
    project: &Project,
    customer_ref: Uuid,
) -> Result<Vec<Recorded>, QueryError> {
    let is_customer = |recorded: &Recorded| {
        recorded.project_no == project.no
            && CustomerEvent::TYPES
                .iter()
                .any(|known| known.type_no == recorded.type_no)
    };
    let mut events = cell.read_stream(customer_ref, 0).await?;
    events.retain(is_customer);
    Ok(events)
}

/// The paths that an event may have changed; a registration sets everything that there is.
fn touched(event: &CustomerEvent) -> Vec<String> {
    match event {
        CustomerEvent::Registered {
            profile,
            connector_enabled,
            source,
            ..
        } => {
            let fields: Vec<SmolStr> = profile
                .known()
                .into_iter()
                .flat_map(|profile| profile.keys().cloned())
                .collect();
            paths(&fields, Some(true), connector_enabled, Some(source))
        }
        CustomerEvent::Updated {
            fields,
            enabled,
            connector_enabled,
            source,
            ..
        } => paths(fields, *enabled, connector_enabled, source.as_ref()),
        CustomerEvent::IdentityLinked { channel, .. } => vec![format!("identities.{channel}")],
        CustomerEvent::IdentityUnlinked { channel, .. } => {
            vec![
                format!("identities.{channel}"),
                format!("{GRANTS}{channel}"),
            ]
        }
        CustomerEvent::GrantSet { channel, .. } | CustomerEvent::GrantRevoked { channel, .. } => {
            vec![format!("{GRANTS}{channel}")]
        }
        CustomerEvent::FieldsClaimed { .. } | CustomerEvent::Erased { .. } => Vec::new(),
    }
}

/// What a record has at a path.
fn value(customer: &Customer, path: &str) -> Option<Value> {
    if !customer.is_active() {
        return None;
    }
    match path.split_once('.') {
        Some(("profile", name)) => customer.profile.known()?.get(name).cloned(),
        Some(("connector_enabled", channel)) => {
            let switch = customer.connector_enabled.get(channel)?;
            Some(Value::Bool(*switch))
        }
        Some(("identities", channel)) => {
            let links = customer.access.links_on(channel);
            joined(links.map(|link| link.identity.external_user_id.clone()))
        }
        Some(("grants", channel)) => {
            let grants = customer.access.grants_on(channel);
            joined(grants.map(|grant| {
                let switch = if grant.terms.enabled { "" } else { " (off)" };
                format!("{}{switch}", grant.terms.agents.join(" "))
            }))
        }
        None if path == "enabled" => Some(Value::Bool(customer.enabled)),
        _ => {
            let source = &customer.source;
            let parts = [
                Some(source.kind.as_str().to_owned()),
                source.provider.clone(),
                source.connection_id.clone(),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            Some(Value::Text(parts.join("/").into()))
        }
    }
}

/// Texts in one; `None` where there are none.
fn joined(texts: impl Iterator<Item = String>) -> Option<Value> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| Value::Text(texts.join(", ").into()))
}

impl CustomerRow {
    /// The row of a folded customer, if it is there and known.
    fn of_customer(customer_ref: Uuid, customer: &Customer, position: i64) -> Option<Self> {
        let (true, Some(id), Some(profile)) = (
            customer.is_active(),
            customer.customer_user_id.known(),
            customer.profile.known(),
        ) else {
            return None;
        };
        let source = &customer.source;
        Some(Self {
            customer_user_id: id.clone(),
            customer_ref,
            display_name: customer.display_name(),
            profile: roster_domain::value::profile_json(profile),
            enabled: customer.enabled,
            connector_enabled: customer.connector_enabled.clone(),
            source_kind: source.kind,
            source_provider: source.provider.clone(),
            source_connection: source.connection_id.clone(),
            source_external_id: source.external_id.known().cloned().flatten(),
            source_synced_at: source.synced_at,
            version: customer.version,
            created_at: customer.created_at,
            updated_at: customer.updated_at,
            position,
        })
    }
}
