//! The rows that a connection has, as reads show them. Commands read no views, so whoever wires a server hands this in.
//!
//! A row only proposes: what becomes of a customer is decided on the state in the log.

use async_trait::async_trait;
use uuid::Uuid;

use crate::CommandError;

/// Whose rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The project.
    pub project_no: i32,
    /// The provider of the tag.
    pub provider: String,
    /// The public id of the connection.
    pub connection_id: String,
}

/// A customer with the tag of a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The customer's stream.
    pub stream: Uuid,
    /// The customer's id, by which rows are ordered.
    pub customer_user_id: String,
    /// The source's id of the record.
    pub external_id: Option<String>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Row({})", self.stream)
    }
}

/// The rows of connections.
#[async_trait]
pub trait Rows: Send + Sync + 'static {
    /// Whether rows show a position of the log, which is waited for a while.
    async fn reach(&self, position: i64) -> bool;

    /// How many rows a connection has.
    async fn count(&self, tag: &Tag) -> Result<u64, CommandError>;

    /// Rows that are switched on, or off, in the order of their ids behind one.
    async fn page(
        &self,
        tag: &Tag,
        enabled: bool,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Row>, CommandError>;

    /// The rows of some records.
    async fn of_records(&self, tag: &Tag, record_ids: &[String]) -> Result<Vec<Row>, CommandError>;
}
