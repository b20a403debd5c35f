//! Use cases on customers: upsert, bulk upsert, erase, find.
//!
//! A customer that was seen before costs one round trip, the append; another costs one more for its claim and state.

mod erase;
mod find;
mod upsert;

use std::collections::BTreeMap;
use std::sync::Arc;

use roster_domain::customer::{Customer, CustomerRefusal, DataSource, SourceKind, Tagging};
use roster_domain::schema::Schema;
use roster_domain::stream::Claim;
use roster_domain::value::{Input, SmolStr};
use roster_domain::{Personal, Problem, Timestamp};
use roster_store::{Loaded, Project};
use uuid::Uuid;

pub use erase::Erased;
pub use find::FindBy;

use crate::{CommandError, Directory, NotFound};

/// A customer as a caller wants it.
#[derive(Clone, Default)]
pub struct UpsertInput {
    /// The id; the primary-key value where it is absent.
    pub customer_user_id: Option<String>,
    /// Values by field, as they came in.
    pub profile: Vec<(SmolStr, Input)>,
    /// The new switch.
    pub enabled: Option<bool>,
    /// New channel switches.
    pub connector_enabled: BTreeMap<String, bool>,
    /// The new tag; an absent one is never changed.
    pub data_source: Option<DataSourceInput>,
    /// Whether fields not named are cleared.
    pub replace: bool,
    /// The record version that the caller saw; 0 means "must not exist".
    pub expected_version: Option<i32>,
}

impl std::fmt::Debug for UpsertInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UpsertInput")
            .field("fields", &self.profile.len())
            .finish_non_exhaustive()
    }
}

/// A data source tag as a caller wants it.
#[derive(Clone, Debug)]
pub struct DataSourceInput {
    /// The kind.
    pub kind: SourceKind,
    /// Such as `csv_file`.
    pub provider: Option<String>,
    /// The saved connection, for kind `directory_sync`.
    pub connection_id: Option<String>,
    /// The row's id at the source.
    pub external_id: Personal<Option<String>>,
    /// When the source last confirmed the row.
    pub synced_at: Option<Timestamp>,
}

impl DataSourceInput {
    /// What it makes of a row's tag, if what it names can exist.
    ///
    /// Only a run gives a row to a connection. A row that has one may be written back as it was read, which changes nothing
    /// of it: see [`Self::can_be_of`].
    fn tagging(&self) -> Result<Tagging, CommandError> {
        if self.kind == SourceKind::DirectorySync {
            return Ok(Tagging::Keep);
        }
        if self.connection_id.is_some() {
            let loc = ["data_source", "connection_id"];
            let message = "only rows of kind directory_sync have a connection";
            return Err(CommandError::invalid(Problem::new(
                loc,
                "connection_not_allowed",
                message,
            )));
        }
        if let Some(provider) = &self.provider {
            check_provider(["data_source", "provider"], provider)?;
        }
        let external_id = self.external_id.known().and_then(Option::as_deref);
        if external_id.is_some_and(|id| {
            id.chars().count() > EXTERNAL_ID_LIMIT || id.chars().any(char::is_control)
        }) {
            let loc = ["data_source", "external_id"];
            let message =
                format!("must have at most {EXTERNAL_ID_LIMIT} characters and no controls");
            return Err(CommandError::invalid(Problem::new(
                loc,
                "external_id_invalid",
                message,
            )));
        }
        Ok(Tagging::Set(DataSource {
            kind: self.kind,
            provider: self.provider.clone(),
            connection_id: None,
            external_id: self.external_id.clone(),
            synced_at: self.synced_at,
        }))
    }

    /// Whether a customer can have this tag: one of a connection is the customer's own, as far as it is told.
    fn can_be_of(&self, customer: &Customer) -> bool {
        let own = &customer.source;
        let external_id = self.external_id.known().and_then(Option::as_ref);
        self.kind != SourceKind::DirectorySync
            || own.kind == SourceKind::DirectorySync
                && self.connection_id == own.connection_id
                && (self.provider.is_none() || self.provider == own.provider)
                && (external_id.is_none() || self.external_id == own.external_id)
    }
}

/// The longest id of a row at its source, or of a record that a sync reads, in characters: it is part of an index.
pub(crate) const EXTERNAL_ID_LIMIT: usize = 512;

/// The longest provider name, in characters: it is part of an index.
const PROVIDER_LIMIT: usize = 64;

/// Refuses what can be no provider of a tag.
pub(crate) fn check_provider<const N: usize>(
    loc: [&str; N],
    provider: &str,
) -> Result<(), CommandError> {
    let is_word = !provider.trim().is_empty() && !provider.chars().any(char::is_control);
    if is_word && provider.chars().count() <= PROVIDER_LIMIT {
        return Ok(());
    }
    let message = format!("must have 1 to {PROVIDER_LIMIT} characters and no controls");
    Err(CommandError::invalid(Problem::new(
        loc,
        "provider_invalid",
        message,
    )))
}

/// What an upsert made of a customer.
#[derive(Clone, Debug)]
pub struct Upserted {
    /// The schema that it was decided by.
    pub schema: Arc<Schema>,
    /// The customer after it.
    pub customer: Arc<Customer>,
    /// The customer's stream: the opaque reference.
    pub stream: Uuid,
    /// Whether the customer is new.
    pub created: bool,
    /// Whether anything changed.
    pub changed: bool,
}

impl From<CustomerRefusal> for CommandError {
    fn from(refusal: CustomerRefusal) -> Self {
        match refusal {
            CustomerRefusal::CustomerNotFound => Self::NotFound(NotFound::Customer),
            CustomerRefusal::VersionConflict { current } => Self::VersionConflict { current },
            CustomerRefusal::PrimaryKeyMismatch => Self::PrimaryKeyMismatch,
            CustomerRefusal::FieldRequired { field } => Self::ProfileFieldRequired { field },
            CustomerRefusal::GrantNotFound => Self::NotFound(NotFound::Grant),
            CustomerRefusal::Invalid(problems) => Self::Invalid(problems),
        }
    }
}

/// A customer as it was found, and whether the log itself was asked.
struct Found {
    loaded: Option<Loaded<Customer>>,
    is_fresh: bool,
}

impl Directory {
    /// The customer with a canonical id, from memory where that is allowed and possible.
    async fn customer_by_id(
        &self,
        project: &Project,
        id: &str,
        fresh: bool,
    ) -> Result<Found, CommandError> {
        let claim = Claim::customer_id(id);
        let key = (project.no, project.claim_key(&claim));
        let known = if fresh {
            None
        } else {
            self.streams_by_id().get(&key).copied()
        };
        // One that is not in memory is asked for by its claim, since such look-ups share statements.
        let loaded = known.and_then(|stream| self.cell().load_cached::<Customer>(stream));
        if let Some(loaded) = loaded.filter(|loaded| loaded.state.is_active()) {
            return Ok(Found {
                loaded: Some(loaded),
                is_fresh: false,
            });
        }
        let loaded = self.cell().load_holder::<Customer>(project, &claim).await?;
        match &loaded {
            Some(loaded) => self.streams_by_id().put(key, loaded.stream),
            None => self.streams_by_id().pop(&key),
        };
        Ok(Found {
            loaded,
            is_fresh: true,
        })
    }

    /// Remembers where a customer was registered.
    fn remember_id(&self, project: &Project, id: &str, stream: Uuid) {
        let key = (project.no, project.claim_key(&Claim::customer_id(id)));
        self.streams_by_id().put(key, stream);
    }

    /// Forgets where a customer was registered who is erased now.
    pub(crate) fn forget_id(&self, project: &Project, id: &str) {
        let key = (project.no, project.claim_key(&Claim::customer_id(id)));
        self.streams_by_id().pop(&key);
    }

    /// The id of the customer who holds a claim, unless it went in the meantime.
    pub(crate) async fn id_of(
        &self,
        project: &Project,
        stream: Uuid,
    ) -> Result<Option<String>, CommandError> {
        let loaded = self.cell().load::<Customer>(project, stream).await?;
        Ok(loaded.into_state().customer_user_id.into_known())
    }
}
