//! The log of a cell, folded with the domain: what every read model must say.

use std::collections::{BTreeMap, HashMap};

use roster_domain::access::ConnectorIdentity;
use roster_domain::channel_access::{ChannelAccess, ChannelAccessEvent};
use roster_domain::customer::{Customer, CustomerEvent};
use roster_domain::event::StoredEvent;
use roster_domain::identity::{Identity, IdentityEvent};
use roster_domain::purge::{Purge, PurgeEvent};
use roster_domain::suppression::{Suppression, SuppressionEvent};
use roster_domain::{Personal, Timestamp};
use roster_store::Cell;
use uuid::Uuid;

/// A customer as the log has it, and where its row stands.
#[derive(Default)]
pub(crate) struct Folded {
    pub(crate) version: i32,
    pub(crate) customer: Customer,
    /// Position of the last event that a row shows.
    pub(crate) position: i64,
}

/// Everything that the log says.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) customers: HashMap<Uuid, Folded>,
    pub(crate) suppressions: HashMap<Uuid, Suppression>,
    pub(crate) purges: HashMap<Uuid, (i64, Purge)>,
    /// The wildcards of channels, each with the position of its last event.
    pub(crate) channels: HashMap<Uuid, (ChannelAccess, i64)>,
    pub(crate) identities: HashMap<Uuid, Identity>,
    /// Positions of the last link and of the last grant of an identity of a customer.
    pub(crate) linked: HashMap<(Uuid, ConnectorIdentity), i64>,
    pub(crate) granted: HashMap<(Uuid, ConnectorIdentity), i64>,
    versions: HashMap<Uuid, i32>,
    /// By data source, the newest time of an event of one of its customers.
    pub(crate) written: BTreeMap<(i16, String, String), Timestamp>,
}

fn is<E: StoredEvent>(type_no: i16) -> bool {
    E::TYPES.iter().any(|known| known.type_no == type_no)
}

impl Log {
    /// Reads the log; `read_page` itself asserts that positions are contiguous.
    pub(crate) async fn read(cell: &Cell) -> Self {
        let mut log = Self::default();
        let mut after = 0;
        loop {
            let page = cell.read_page(after, 5_000).await.expect("no hole");
            let Some(last) = page.last() else { return log };
            after = last.position;
            for recorded in &page {
                let version = log.versions.entry(recorded.stream).or_default();
                assert_eq!(recorded.version, *version + 1, "versions 1..n");
                *version = recorded.version;
                if is::<CustomerEvent>(recorded.type_no) {
                    let event: CustomerEvent = recorded.decode().expect("it decodes");
                    let folded = log.customers.entry(recorded.stream).or_default();
                    folded.version = recorded.version;
                    if matches!(
                        event,
                        CustomerEvent::Registered { .. }
                            | CustomerEvent::Updated { .. }
                            | CustomerEvent::Erased { .. }
                    ) {
                        folded.position = recorded.position;
                    }
                    match &event {
                        CustomerEvent::IdentityLinked {
                            channel,
                            external_user_id,
                            ..
                        } => {
                            let key = identity(recorded.stream, channel, external_user_id);
                            log.linked.insert(key, recorded.position);
                        }
                        CustomerEvent::GrantSet {
                            channel,
                            external_user_id,
                            ..
                        } => {
                            let key = identity(recorded.stream, channel, external_user_id);
                            log.granted.insert(key, recorded.position);
                        }
                        _ => {}
                    }
                    let is_write = matches!(
                        event,
                        CustomerEvent::Registered { .. } | CustomerEvent::Updated { .. }
                    );
                    folded.customer.fold(event);
                    if is_write {
                        let at = folded.customer.updated_at;
                        let newest = log.written.entry(source_of(&folded.customer)).or_insert(at);
                        *newest = at.max(*newest);
                    }
                } else if is::<PurgeEvent>(recorded.type_no) {
                    let (position, purge) = log.purges.entry(recorded.stream).or_default();
                    *position = recorded.position;
                    purge.fold(recorded.decode().expect("it decodes"));
                } else if is::<ChannelAccessEvent>(recorded.type_no) {
                    let event = recorded.decode().expect("it decodes");
                    let (access, position) = log.channels.entry(recorded.stream).or_default();
                    access.fold(event);
                    *position = recorded.position;
                } else if is::<IdentityEvent>(recorded.type_no) {
                    let event = recorded.decode().expect("it decodes");
                    let known = log.identities.entry(recorded.stream).or_default();
                    known.fold(event);
                } else if is::<SuppressionEvent>(recorded.type_no) {
                    let event = recorded.decode().expect("it decodes");
                    log.suppressions
                        .entry(recorded.stream)
                        .or_default()
                        .fold(event);
                }
            }
        }
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = (&Uuid, &Folded)> {
        self.customers
            .iter()
            .filter(|(_, folded)| folded.customer.is_active())
    }
}

/// An identity of a stream; all of an erased person have one name.
fn identity(stream: Uuid, channel: &str, id: &Personal<String>) -> (Uuid, ConnectorIdentity) {
    let identity = ConnectorIdentity {
        channel: channel.to_owned(),
        external_user_id: id.known().cloned().unwrap_or_default(),
    };
    (stream, identity)
}

pub(super) fn source_of(customer: &Customer) -> (i16, String, String) {
    let source = &customer.source;
    let set = |text: &Option<String>| text.clone().unwrap_or_default();
    (
        source.kind.number(),
        set(&source.provider),
        set(&source.connection_id),
    )
}
