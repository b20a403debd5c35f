//! What can be asked of a project's schema.

use uuid::Uuid;

use super::Definition;
use crate::Timestamp;

/// A command on the schema of one project.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "these commands are rare and short-lived"
)]
pub enum SchemaCommand {
    /// Put another definition into effect, or start to prepare it.
    Replace {
        /// When.
        at: Timestamp,
        /// The whole new definition.
        definition: Definition,
        /// The version that the caller saw.
        expected_version: Option<i32>,
        /// Whether the project has customers.
        has_customers: bool,
        /// A fresh id, used if a preparation must start.
        preparation_id: Uuid,
        /// Whether the caller has prepared every customer already.
        force_ready: bool,
    },
    /// A write found a duplicate: the pending definition cannot take effect.
    VoidPreparation {
        /// When.
        at: Timestamp,
        /// The preparation; another than the pending one is ignored.
        preparation_id: Uuid,
        /// The field with the duplicate.
        field: String,
    },
    /// The preparation job ended.
    EndPreparation {
        /// When.
        at: Timestamp,
        /// The preparation; another than the pending one is ignored.
        preparation_id: Uuid,
        /// Whether every value was read and claimed.
        ready: bool,
    },
}
