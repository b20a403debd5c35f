//! Why a command on a schema is refused.

use uuid::Uuid;

use crate::Problem;

/// A fact that stands against a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaRefusal {
    /// The definition breaks rules.
    #[error("the schema has {} problems", .0.len())]
    Invalid(Vec<Problem>),
    /// The schema has another version than the caller saw.
    #[error("the schema is at version {current}")]
    VersionConflict {
        /// The version that it has.
        current: i32,
    },
    /// There are customers, and their ids come from the primary key.
    #[error("the primary key cannot change while there are customers")]
    PrimaryKeyFixed,
    /// The same definition is being prepared.
    #[error("preparation {preparation_id} is running")]
    PreparationRunning {
        /// The job.
        preparation_id: Uuid,
    },
}
