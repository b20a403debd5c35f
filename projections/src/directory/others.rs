//! What a page says of everything but the rows of customers: links, grants, blocks, schemas, preparations, imports,
//! suppressions, purges, connections and their runs.

use std::collections::HashMap;

use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::connection::ConnectionEvent;
use roster_domain::customer::CustomerEvent;
use roster_domain::event::StoredEvent;
use roster_domain::identity::IdentityEvent;
use roster_domain::import::ImportEvent;
use roster_domain::preparation::PreparationEvent;
use roster_domain::purge::PurgeEvent;
use roster_domain::schema::SchemaEvent;
use roster_domain::suppression::SuppressionEvent;
use roster_domain::sync_run::SyncRunEvent;
use roster_store::{Cell, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::blocks::Blocks;
use crate::connections::Connections;
use crate::customers::fold::Folded;
use crate::grants::Grants;
use crate::identities::Identities;
use crate::imports::Imports;
use crate::page::PageError;
use crate::preparations::Preparations;
use crate::purges::Purges;
use crate::schemas::Schemas;
use crate::suppressions::Suppressions;
use crate::sync_runs::SyncRuns;

/// Rows of a page, and states that are remembered from one page to the next.
#[derive(Default)]
pub(super) struct Others {
    schemas: Schemas,
    preparations: Preparations,
    imports: Imports,
    suppressions: Suppressions,
    purges: Purges,
    connections: Connections,
    sync_runs: SyncRuns,
    identities: Identities,
    grants: Grants,
    blocks: Blocks,
}

impl Others {
    /// Drops the states.
    pub(super) fn forget(&mut self) {
        self.preparations.forget();
        self.imports.forget();
        self.purges.forget();
        self.sync_runs.forget();
    }

    /// The rows that were collected, if there are any. The states stay here.
    pub(super) fn take(&mut self) -> Option<Self> {
        if self.is_empty() {
            return None;
        }
        Some(Self {
            schemas: std::mem::take(&mut self.schemas),
            preparations: self.preparations.take(),
            imports: self.imports.take(),
            suppressions: std::mem::take(&mut self.suppressions),
            purges: self.purges.take(),
            connections: std::mem::take(&mut self.connections),
            sync_runs: self.sync_runs.take(),
            identities: std::mem::take(&mut self.identities),
            grants: std::mem::take(&mut self.grants),
            blocks: std::mem::take(&mut self.blocks),
        })
    }

    fn is_empty(&self) -> bool {
        self.schemas.is_empty()
            && self.preparations.is_empty()
            && self.imports.is_empty()
            && self.suppressions.is_empty()
            && self.purges.is_empty()
            && self.connections.is_empty()
            && self.sync_runs.is_empty()
            && self.identities.is_empty()
            && self.grants.is_empty()
            && self.blocks.is_empty()
    }

    /// Decodes an event and collects its rows; an event of a customer comes back.
    pub(super) async fn collect(
        &mut self,
        cell: &Cell,
        recorded: &Recorded,
    ) -> Result<Option<CustomerEvent>, PageError> {
        let unreadable = |error| PageError::decoding(recorded, error);
        if is::<CustomerEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.identities.collect(recorded, &event);
            self.grants.collect(recorded, &event);
            self.blocks.collect(recorded, &event);
            return Ok(Some(event));
        }
        if is::<ImportEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.imports.collect(cell, recorded, event).await?;
        } else if is::<PurgeEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.purges.collect(cell, recorded, event).await?;
        } else if is::<SyncRunEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.sync_runs.collect(cell, recorded, event).await?;
        } else if is::<ConnectionEvent>(recorded) {
            self.connections
                .collect(recorded, recorded.decode().map_err(unreadable)?);
        } else if is::<SuppressionEvent>(recorded) {
            self.suppressions
                .collect(recorded, &recorded.decode().map_err(unreadable)?);
        } else if is::<SchemaEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.schemas.collect(recorded, event);
        } else if is::<ChannelAccessEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.grants.collect_wildcard(recorded, event);
        } else if is::<IdentityEvent>(recorded) {
            // What it says of blocks is in the customer's events too; the rest is read from the streams.
        } else if is::<PreparationEvent>(recorded) {
            let event = recorded.decode().map_err(unreadable)?;
            self.preparations.collect(cell, recorded, event).await?;
        } else {
            return Err(PageError::Unknown {
                type_no: recorded.type_no,
                type_version: recorded.type_version,
            });
        }
        Ok(None)
    }

    /// The ids of a page's customers, as far as links need them.
    pub(super) fn owners(&self, page: &Folded) -> HashMap<Uuid, String> {
        if self.identities.is_empty() {
            return HashMap::new();
        }
        let rows = page.rows();
        rows.map(|(stream, row)| (*stream, row.id().to_owned()))
            .collect()
    }

    /// Writes what comes before the customers.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), PageError> {
        self.schemas.write(connection).await?;
        self.preparations.write(connection).await?;
        self.imports.write(connection).await?;
        self.suppressions.write(connection).await?;
        self.purges.write(connection).await?;
        self.connections.write(connection).await?;
        self.sync_runs.write(connection).await?;
        Ok(())
    }

    /// Writes links, grants and blocks: after the customers, whose ids they have. `owners` are those of the page.
    pub(super) async fn write_access(
        &self,
        cell: &Cell,
        connection: &mut PgConnection,
        owners: HashMap<Uuid, String>,
    ) -> Result<(), PageError> {
        self.identities.write(connection, owners).await?;
        self.identities.write_matched(cell, connection).await?;
        self.grants.write(connection).await?;
        self.blocks.write(connection).await?;
        Ok(())
    }

    /// The same where every customer who is there is on the page.
    pub(super) async fn fill_access(
        &self,
        connection: &mut PgConnection,
        owners: &HashMap<Uuid, String>,
    ) -> Result<(), PageError> {
        self.identities.fill(connection, owners).await?;
        self.grants.write(connection).await?;
        self.blocks.write(connection).await?;
        Ok(())
    }
}

fn is<E: StoredEvent>(recorded: &Recorded) -> bool {
    E::TYPES
        .iter()
        .any(|known| known.type_no == recorded.type_no)
}
