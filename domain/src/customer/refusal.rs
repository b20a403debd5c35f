//! Why a command on a customer is refused.

use crate::Problem;

/// A fact that stands against a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustomerRefusal {
    /// No such customer, or an erased one.
    #[error("the customer does not exist")]
    CustomerNotFound,
    /// The record has another version than the caller saw.
    #[error("the customer is at version {current}")]
    VersionConflict {
        /// The version that it has; 0 where it does not exist.
        current: i32,
    },
    /// The primary-key value and the id disagree.
    #[error("the primary-key value differs from the customer id")]
    PrimaryKeyMismatch,
    /// The field must have a value, so it cannot be cleared.
    #[error("the field {field} cannot be cleared")]
    FieldRequired {
        /// The field.
        field: String,
    },
    /// The customer has no grant there.
    #[error("there is no grant")]
    GrantNotFound,
    /// Values that the schema does not allow.
    #[error("{} values are invalid", .0.len())]
    Invalid(Vec<Problem>),
}
