//! What can be asked of a preparation.

use uuid::Uuid;

use super::Outcome;
use crate::Timestamp;
use crate::schema::Definition;

/// A command on one preparation.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "these commands are rare and short-lived"
)]
pub enum PreparationCommand {
    /// Start the job.
    Start {
        /// When.
        at: Timestamp,
        /// The stream of the project's schema.
        schema_stream: Uuid,
        /// The definition that is to take effect.
        definition: Definition,
        /// The fields that are prepared.
        fields: Vec<String>,
        /// How many customers there are to check.
        total: u64,
    },
    /// Record how far the job is.
    Progress {
        /// When.
        at: Timestamp,
        /// How many customers are checked in all.
        checked: u64,
        /// The last claim key that is done.
        cursor: Vec<u8>,
    },
    /// Record two customers with the same value.
    ReportDuplicate {
        /// When.
        at: Timestamp,
        /// The field.
        field: String,
        /// The customer who could not take the claim.
        customer_ref: Uuid,
        /// The customer who holds it.
        holder_ref: Uuid,
    },
    /// End the job.
    Finish {
        /// When.
        at: Timestamp,
        /// How it ended.
        outcome: Outcome,
    },
}
